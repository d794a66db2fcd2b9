"""audit(): two models and a request in, scores, verdicts and their limits out."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from torch import nn

from unspan.artifact import receipt as receipts
from unspan.artifact.deletion import RECORD, Deletion, Record
from unspan.auditing import controls, figures, scores, statements
from unspan.auditing.attack_split import parts
from unspan.auditing.attempts import begin
from unspan.auditing.case import (
    Case,
    check_distinct,
    comparable,
    own_accuracy,
    provenance,
    random_reference,
    relabelled,
    with_pixels,
)
from unspan.auditing.collect import Subject, collect, default_cache, subject
from unspan.auditing.controls import stretched
from unspan.auditing.goals import goals
from unspan.auditing.gradcam import panels
from unspan.auditing.reading import (
    ERASED,
    INCONCLUSIVE,
    NOT_MEASURABLE,
    RETAINED,
    AttackResult,
    overall,
)
from unspan.auditing.returned import unchanged
from unspan.auditing.suite import class_attacks, explain, group_attacks
from unspan.auditing.supplementary import other_scores, single_samples, tell
from unspan.auditing.verify import seal
from unspan.auditing.white_box import WhiteBox, white_box
from unspan.data.inputs import first_rows
from unspan.data.loading import batches, peek
from unspan.data.request import as_request, digests_of, shared_samples
from unspan.extraction import Pool
from unspan.metrics.identity import AttackId, AttackKind, ScoreKind
from unspan.metrics.probes import stratified
from unspan.metrics.score import Reading, Score
from unspan.metrics.signature import signature
from unspan.metrics.whitening import whitened_probe
from unspan.report.rule import ERASED_BELOW, RETAINED_ABOVE, ROOM, SCHEMA, Topic, Verdict
from unspan.run import Run

_STRETCHED = 10_000  # rows of the stretched fake, which is a copy of the features


@dataclass(frozen=True)
class Audit:
    """The result of an audit; JSON inside.

    Attributes:
        account: everything, schema `unspan.audit/2`.
    """

    account: dict[str, Any]

    @property
    def verdict(self) -> Verdict:
        """ERASED AT THIS LEVEL, RETAINED, INCONCLUSIVE or NOT MEASURABLE."""
        return Verdict(self.account["verdict"])

    @property
    def trusted(self) -> bool:
        """Every self-test did what it should, and the reference can serve as one."""
        controls = all(one["ok"] for one in self.account["controls"])
        return controls and bool(self.account["reference"]["usable"])

    def __str__(self) -> str:
        """The verdict and the sentence behind it."""
        held = [one["level"] for one in self.account["levels"] if one["holds"]]
        levels = ", ".join(held) or "none"
        return f"{self.verdict}: {self.account['headline']} Levels that hold: {levels}."

    def _repr_html_(self) -> str:
        """The report for a notebook, in a frame of its own."""
        page = escape(self.to_html(), quote=True)
        return f'<iframe srcdoc="{page}" width="100%" height="600" sandbox></iframe>'

    def to_json(self) -> str:
        """Canonical JSON."""
        return receipts.canonical(self.account)

    def to_html(self) -> str:
        """One self-contained page."""
        from unspan.report import html

        return html(self.account)

    def to_markdown(self) -> str:
        """The same as text."""
        from unspan.report import markdown

        return markdown(self.account)

    def save(self, folder: str | Path) -> Path:
        """Write audit.json, report.html and report.md into a folder, which is made.

        Raises:
            UsageError: the folder holds anything but an earlier audit.
            OutputError: the folder cannot be written.
        """
        from unspan.auditing.write import save

        return save(self, Path(folder))


def audit(
    before: nn.Module,
    after: nn.Module | Deletion | str | Path,
    data: Any,
    run: Run | None = None,
    *,
    reference: Sequence[nn.Module] = (),
    feature_layer: str | None = None,
    pool: Pool | None = None,
    class_names: Sequence[str] | None = None,
    cache: Path | None = None,
    allow_overlap: bool = False,
    pictures: bool = True,
    gradcam: int = 0,
) -> Audit:
    """Measure what an attacker can still get from `after` of what `before` knew.

    Args:
        before: the original model.
        after: the erased model, its `Deletion` or folder.
        data: a `Request` with forget and retain samples; with test parts (`with_test`) the attacker
            is judged on them.
        run: device, batch size, seed, progress.
        reference: models trained without the forget data, best several; without them random weights
            are used.
        feature_layer: as in `erase`, for models that were not erased by it.
        pool: as in `erase`.
        class_names: for the report.
        cache: folder for outputs; see `collect.default_cache`.
        allow_overlap: go on when test samples stand in the training data too; the report says so.
        pictures: embeddings (t-SNE), which take some seconds.
        gradcam: how many forgotten test images to show with the regions either model uses; the
            report then holds them.

    Raises:
        UnspanError: with an exit code and a line that says how to fix it.
    """
    started = time.perf_counter()
    run, splits, notes = run or Run(), as_request(data), []
    after = _model(after)
    given = parts(splits)
    first, _ = peek(batches(given.test_forget, run, shard=False))
    example = first_rows(first.inputs, 2)
    subjects = [
        subject("before", before, example, feature_layer=feature_layer, pool=pool),
        subject("after", after, example, feature_layer=feature_layer, pool=pool),
    ]
    notes += provenance(subjects[0], subjects[1], splits)
    others = [
        subject(f"reference {i + 1}", one, example, feature_layer=feature_layer, pool=pool)
        for i, one in enumerate(reference)
    ]
    check_distinct(others)
    kind = "retrained" if others else "random weights"
    if not others:
        others, kind = random_reference(subjects[0], example, run, feature_layer, pool)
    everyone = [*subjects, *others]
    shown = panels(subjects[0], subjects[1], first.inputs, first.labels, gradcam) if gradcam else []
    rule = {"erased_below": ERASED_BELOW, "retained_above": RETAINED_ABOVE, "room": ROOM}
    config = {
        "seed": run.seed,
        "batch_size": run.batch_size,
        "attacks": "default",
        "feature_layer": feature_layer,
        "pool": pool,
        "reference": kind,
        "rule": rule,
    }
    cache = cache or default_cache()
    hashes = {
        "before": subjects[0].digest,
        "after": subjects[1].digest,
        "reference": [one.digest for one in others],
    }
    fit, fit_digest, known = collect(
        everyone, given.fit_forget, given.fit_retain, run, cache, "outputs, what the attacker knows"
    )
    test, test_digest, tested = collect(
        everyone, given.test_forget, given.test_retain, run, cache, "outputs, what he is judged on"
    )
    by_place = (
        not given.held_out and digests_of(given.fit_forget) is None
    )  # the fifth held out of such data may hold copies of the rest
    notes += shared_samples(
        "training and test data of the audit", known, tested, allow_overlap or by_place
    )
    names = [one.name for one in others]
    if kind == "raw pixels":
        fit, test, names = with_pixels(fit, test, given, run)
    seen = comparable(test, names, splits.kind == "class") if kind == "retrained" else []
    notes += seen
    attempt = begin(
        cache,
        subjects[0].digest,
        subjects[1].digest,
        [splits.kind, *map(str, splits.selector)],
        config | {"references": hashes["reference"]},
    )
    notes += statements.attempted(attempt.earlier)
    case = Case(
        splits,
        given,
        run,
        subjects,
        others,
        names,
        kind,
        fit,
        test,
        first.inputs,
        class_names,
        notes,
        not seen,
    )
    account = _measured(case, pictures)
    attempt.end(account["verdict"])
    if shown:
        account["figures"]["gradcam"] = shown
        account["not_run"] = [
            one for one in account["not_run"] if Topic.GRADCAM.value not in one["topics"]
        ]
    account |= {
        "settings": config,
        "hashes": (
            hashes | {"fit data": fit_digest, "test data": test_digest, "config": attempt.config}
        ),
    }
    account |= {
        "attempts": attempt.earlier,
        "versions": receipts.versions(),
        "seconds": {"total": round(time.perf_counter() - started, 1)},
    }
    account = _finite(account)
    return Audit(account | {"seal": seal(account)})


def _finite(value: Any) -> Any:
    """JSON has no NaN: what could not be computed is null."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _model(after: Any) -> nn.Module:
    if isinstance(after, (str, Path)):
        from unspan.artifact import load

        return load(after)
    return after.model if isinstance(after, Deletion) else after


def _measured(case: Case, pictures: bool) -> dict[str, Any]:
    """Attacks, scores, controls and words of an audit."""
    run, before = case.run, case.test["before"]
    attacks = class_attacks if case.by_class else group_attacks
    readings = {}
    for name in ("before", "after", *case.references):
        readings[name] = attacks(
            case.fit[name], case.test[name], run.seed, partial(tell, run, name)
        )
    columns = _aligned(readings, case)
    unfit = not case.usable
    word, verdicts = overall(
        columns["before"], columns["after"], columns["references"], seed=run.seed
    )
    box = white_box(case.subjects[0], case.subjects[1], case.others, case.parts, case.inputs, run)
    rows = other_scores(case, readings)
    single = single_samples(case) if case.kind == "retrained" and not unfit else None
    if single is not None and not case.by_class:
        verdicts, word = [single, *verdicts], single.verdict
    if unfit:
        word = NOT_MEASURABLE
    handed_out = unchanged(case.subjects[0], case.subjects[1], case.inputs)
    case.notes.extend(one.note for one in handed_out)
    warned = [f"{one.note.capitalize()}." for one in handed_out]
    if word == ERASED and handed_out:
        word = RETAINED if any(one.features for one in handed_out) else INCONCLUSIVE
    checks, informative = _controls(case, readings, columns, rows)
    own = scores.described(rows, ScoreKind.FORGET_ACCURACY, "after", "test forget")
    casts = [scores.score_of(one) for one in rows if one["group"] == "cast"]
    guarded = [
        one
        for one in (scores.described(rows, ScoreKind.GUARDEDNESS_FIT, "after"), _area(verdicts))
        if one is not None
    ]
    weights_changed = None if box.changed is None else bool(box.changed)
    found = statements.levels(
        own,
        relabelled(case),
        casts,
        guarded,
        verdicts,
        box.word,
        weights_changed,
        before.classes(),
        single,
        not unfit,
    )
    what = f"{case.splits.kind} {', '.join(case.splits.selector)}"
    split = (
        "held-out test data"
        if case.parts.held_out
        else "a held-out fifth of the data given (no test split)"
    )
    account: dict[str, Any] = {
        "schema": SCHEMA,
        "created": receipts.now(),
        "verdict": word,
        "headline": " ".join([*warned, statements.headline(verdicts, case.kind)]),
        "request": {
            "kind": case.splits.kind,
            "selector": list(case.splits.selector),
            "samples": (
                int(case.fit["before"].forget.sum())
                + (0 if case.parts.held_out else int(before.forget.sum()))
            ),
            "test_samples": int(before.forget.sum()),
            "test": split,
        },
        "method": _method(case.subjects[1]),
        "levels": [one.to_dict() for one in found],
        "claims": statements.claims(found, what, split),
        "goals": (
            goals(verdicts, rows, before.classes(), case.kind == "retrained")
            if case.by_class
            else []
        ),
        "can_still": statements.can_still(
            verdicts,
            explain,
            [scores.described(rows, kind, "after") for kind in (ScoreKind.NOISE, ScoreKind.MIRROR)],
            weights_changed,
            box.recovered,
        ),
        "next_steps": statements.next_steps(word, case.kind, any(one.holds for one in found)),
        "limits": (
            statements.LIMITS
            + (
                []
                if case.parts.held_out
                else [
                    "The samples the attacker is judged on were in the training data of the"
                    " original model: a test split says more."
                ]
            )
        ),
        "reference": {
            "kind": case.kind,
            "count": len(case.references),
            "usable": case.usable,
            "note": _reference_note(case),
        },
        "attacks": [one.to_dict() | {"explain": explain(one.identity)} for one in verdicts],
        "details": {
            name: {one.attack: one.detail for one in found} for name, found in readings.items()
        },
        "scores": rows,
        "controls": [one.to_dict() for one in checks],
        "informative": informative,
        "notes": case.notes,
        "not_run": _not_run(case, single, box),
    }
    account["figures"] = figures.data(case, readings, box, pictures)
    return account


def _aligned(readings: dict[str, list[Reading]], case: Case) -> dict[str, Any]:
    """Readings of before, after and the references, attack by attack; attacks that a reference
    cannot face are left out.
    """
    named = {name: {one.identity: one for one in found} for name, found in readings.items()}
    order = [
        one.identity
        for one in readings["before"]
        if all(one.identity in found for found in named.values())
    ]
    return {
        "attacks": order,
        "before": [named["before"][attack] for attack in order],
        "after": [named["after"][attack] for attack in order],
        "references": [[named[name][attack] for name in case.references] for attack in order],
    }


def _area(verdicts: Sequence[AttackResult]) -> Score | None:
    """The one-against-the-rest AUC of the erased model as a score."""
    found = next(
        (one for one in verdicts if one.identity.kind is AttackKind.LINEAR_AGAINST_REST), None
    )
    return (
        None
        if found is None
        else Score(
            name=found.attack,
            value=found.erased,
            low=found.erased_low,
            high=found.erased_high,
            unit="AUC",
            split="test",
            n=found.n,
        )
    )


def _controls(
    case: Case,
    readings: dict[str, list[Reading]],
    columns: dict[str, Any],
    rows: list[dict[str, Any]],
) -> tuple[list[controls.Control], list[dict[str, Any]]]:
    """Planted fakes, permuted labels, and which scores a fake passes."""
    before = case.test["before"]
    edited = list(columns["before"])
    own = edited_own = None
    if before.logits is not None and case.by_class:
        fit, test = (
            controls.head_edit(case.fit["before"], case.splits.classes),
            controls.head_edit(before, case.splits.classes),
        )
        edited = [
            signature(fit, test) if one.identity.kind is AttackKind.SIGNATURE else one
            for one in edited
        ]
        own, edited_own = (
            own_accuracy(case.test["after"], before.forget),
            own_accuracy(test, before.forget),
        )
    found = controls.fakes(columns["before"], columns["references"], edited, case.run.seed)
    if case.by_class:
        case.run.report("control: stretched features", 0, None)
        place = columns["attacks"].index(AttackId(AttackKind.LINEAR_WHITENED))
        some = case.fit["before"].rows(
            stratified(case.fit["before"].labels, _STRETCHED, case.run.seed)
        )
        fit, test = (stretched(one, case.run.seed) for one in (some, before))
        found.append(
            controls.hidden(
                columns["before"][place],
                whitened_probe(fit, test, case.run.seed),
                columns["references"][place],
                case.run.seed,
            )
        )
        case.run.report("control: permuted labels", 0, None)
        at = columns["attacks"].index(AttackId(AttackKind.LINEAR))
        nothing = controls.permuted(case.fit["after"], case.test["after"], case.run.seed)
        found.append(
            controls.noise(columns["before"][at], nothing, columns["references"][at], case.run.seed)
        )
    kr = scores.described(rows, ScoreKind.KR, "after", "test forget")
    converged = {
        name: next((one.value for one in found if one.identity.kind is AttackKind.LINEAR), None)
        for name, found in readings.items()
    }
    reference = converged.get(case.references[0])
    return found, controls.informative(
        own,
        edited_own,
        None if kr is None else kr.value,
        converged["after"],
        reference,
        before.classes(),
        int(before.forget.sum()),
    )


def _method(one: Subject) -> dict[str, Any] | None:
    record: Record | None = getattr(one.model, RECORD, None)
    return (
        None if record is None else {"name": record.receipt["method"]["name"], "form": record.form}
    )


def _reference_note(case: Case) -> str:
    if case.kind == "retrained":
        return (
            f"{len(case.references)} model{'s' if len(case.references) > 1 else ''} given as"
            " trained without the forgotten data"
            + (
                "; several seeds would tell how much training alone varies"
                if len(case.references) < 3
                else ""
            )
        )
    if case.kind == "random weights":
        return (
            "the same architecture with random weights; a model retrained without the data would"
            " say more, since features learned from other classes often separate one that was never"
            " seen"
        )
    return "the inputs themselves, averaged to 8 x 8 pixels"


def _not_run(case: Case, single: AttackResult | None, box: WhiteBox) -> list[dict[str, Any]]:
    missing: list[dict[str, Any]] = []
    if single is None:
        missing.append(
            {
                "topics": [Topic.MEMBERSHIP.value],
                "name": "membership of single samples (RMIA)",
                "why": (
                    "needs class scores, labels, and models trained without the samples"
                    " (--reference)"
                ),
            }
        )
    if box.word is None:
        missing.append(
            {
                "topics": [Topic.SWEEP.value],
                "name": "earlier layers",
                "why": "no layer that all models share was found before the features",
            }
        )
    if case.test["after"].logits is None:
        missing.append(
            {
                "topics": [Topic.UTILITY.value, Topic.CAST.value],
                "name": "scores, casts, output signature",
                "why": "the model gives no class scores",
            }
        )
    if not case.by_class:
        missing.append(
            {
                "topics": [Topic.ATTACKS.value, Topic.PUBLISHED.value, Topic.RELEARNING.value],
                "name": "class probes (linear, kNN, MLP, few-shot, KR)",
                "why": "the request is of samples, not of a class",
            }
        )
    missing.append(
        {
            "topics": [Topic.GRADCAM.value],
            "name": "Grad-CAM pictures",
            "why": (
                "not asked for: the pictures show forgotten samples, and a report holds none by"
                " default (--gradcam 4 draws four)"
            ),
        }
    )
    missing.append(
        {
            "topics": [],
            "name": "recovery by fine-tuning, shadow models (U-LiRA)",
            "why": "need training; not part of the default audit",
        }
    )
    return missing
