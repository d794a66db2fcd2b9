"""From the outputs of all models to the account of an audit: attacks, scores, tests, words."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from unspan.artifact import receipt as receipts
from unspan.artifact.deletion import RECORD, Record
from unspan.auditing import figures, scores, statements
from unspan.auditing.case import (
    Case,
    relabelled,
)
from unspan.auditing.collect import Subject
from unspan.auditing.goals import goals
from unspan.auditing.reading import (
    ERASED,
    INCONCLUSIVE,
    NOT_MEASURABLE,
    RETAINED,
    AttackResult,
    overall,
)
from unspan.auditing.returned import unchanged
from unspan.auditing.self_tests import aligned, self_tests
from unspan.auditing.suite import class_attacks, explain, group_attacks
from unspan.auditing.supplementary import other_scores, single_samples, tell
from unspan.auditing.white_box import WhiteBox, white_box
from unspan.metrics.identity import AttackId, AttackKind, ScoreKind
from unspan.metrics.score import Reading, Score
from unspan.report.rule import SCHEMA, Topic


def measured(case: Case, pictures: bool) -> dict[str, Any]:
    """Attacks, scores, controls and words of an audit."""
    run, before = case.run, case.test["before"]
    attacks = class_attacks if case.by_class else group_attacks
    readings = {}
    for name in ("before", "after", *case.references):
        readings[name] = attacks(
            case.fit[name], case.test[name], run.seed, partial(tell, run, name)
        )
    columns = aligned(readings, case)
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
    checks, informative = self_tests(case, readings, columns, rows)
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
        "attacks": [
            one.to_dict()
            | {"explain": explain(one.identity), "converged": _converged(readings, one.identity)}
            for one in verdicts
        ],
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


def _converged(readings: dict[str, list[Reading]], attack: AttackId) -> bool:
    """Whether an attack ran to its end in every model; one that trains nothing always does."""
    found = [one for readings_ in readings.values() for one in readings_ if one.identity == attack]
    return all(one.detail.get("converged") is not False for one in found)


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
