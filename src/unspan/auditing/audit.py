"""audit(): two models and a request in, scores, verdicts and their limits out."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from torch import nn

from unspan.artifact import receipt as receipts
from unspan.artifact.deletion import Deletion
from unspan.auditing import statements
from unspan.auditing.attack_split import parts
from unspan.auditing.attempts import begin
from unspan.auditing.case import (
    Case,
    check_distinct,
    comparable,
    provenance,
    random_reference,
    with_pixels,
)
from unspan.auditing.collect import collect, default_cache, subject
from unspan.auditing.gradcam import panels
from unspan.auditing.measured import measured
from unspan.auditing.verify import seal
from unspan.data.inputs import first_rows
from unspan.data.loading import batches, peek
from unspan.data.request import as_request, digests_of, shared_samples
from unspan.extraction import Pool
from unspan.report.rule import ERASED_BELOW, RETAINED_ABOVE, ROOM, Topic, Verdict
from unspan.run import Run


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
    account = measured(case, pictures)
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
