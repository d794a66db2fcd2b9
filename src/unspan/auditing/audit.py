"""audit(): two models and a request in, scores, verdicts and their limits out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from html import escape
from pathlib import Path
from typing import Any

from torch import nn

from unspan import cluster
from unspan.artifact.deletion import Deletion
from unspan.audit_record import stored
from unspan.audit_record.circumstances import Rule, Settings
from unspan.audit_record.drawings import GradcamPicture
from unspan.audit_record.record import AuditRecord
from unspan.audit_record.summary import Identity
from unspan.audit_record.vocabulary import ReferenceKind, Verdict
from unspan.auditing import figures
from unspan.auditing.attempts import begin
from unspan.auditing.case import Case
from unspan.auditing.collect import default_cache
from unspan.auditing.given_outputs import case_of_outputs
from unspan.auditing.gradcam import panels
from unspan.auditing.identity import Files, identity
from unspan.auditing.measured import measure
from unspan.auditing.opening import Models, open_case, open_models
from unspan.auditing.recording import recorded
from unspan.auditing.steps import Work, planned, step
from unspan.auditing.verdict_rule import GUESSING, RETAINED_ABOVE, ROOM
from unspan.auditing.views import are_images
from unspan.data.request import Request, as_request
from unspan.extraction import Pool
from unspan.models.sentences import with_tokens
from unspan.run import Run
from unspan.system.steps import Step


@dataclass(frozen=True)
class Audit:
    """The result of an audit.

    Attributes:
        record: everything that was measured and said.
    """

    record: AuditRecord

    @property
    def verdict(self) -> Verdict:
        """LIKE RETRAINED, BELOW RETRAINED, RETAINED, INCONCLUSIVE or NOT MEASURABLE."""
        return self.record.verdict

    @property
    def trusted(self) -> bool:
        """Every self-test did what it should, and the reference can serve as one."""
        return self.record.trusted

    def __str__(self) -> str:
        """The verdict and the sentence behind it."""
        held = [one.level for one in self.record.levels if one.holds]
        levels = ", ".join(held) or "none"
        from unspan.report.statements import headline

        return f"{self.verdict}: {headline(self.record)} Levels that hold: {levels}."

    def _repr_html_(self) -> str:
        """The report for a notebook, in a frame of its own."""
        page = escape(self.to_html(), quote=True)
        return f'<iframe srcdoc="{page}" width="100%" height="600" sandbox></iframe>'

    def to_json(self) -> str:
        """Canonical JSON."""
        return stored.to_json(self.record)

    def to_html(self) -> str:
        """One self-contained page."""
        from unspan.report import html

        return html(self.record)

    def to_markdown(self) -> str:
        """The same as text."""
        from unspan.report import markdown

        return markdown(self.record)

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
    references: Sequence[nn.Module] = (),
    feature_layer: str | None = None,
    pool: Pool | None = None,
    class_names: Sequence[str] | None = None,
    cache: str | Path | None = None,
    allow_overlap: bool = False,
    pictures: bool = True,
    include_images: int = 0,
    by: str = "",
    valid_until: date | None = None,
    files: Files | None = None,
) -> Audit:
    """Measure what an attacker can still get from `after` of what `before` knew.

    Args:
        before: the original model.
        after: the erased model, its `Deletion` or folder.
        data: a `Request` with forget and retain samples; with test parts (`with_test`) the attacker
            is judged on them.
        run: device, batch size, seed, progress.
        references: models trained without the forget data, best several; without them random
            weights are used.
        feature_layer: as in `erase`, for models that were not erased by it.
        pool: as in `erase`.
        class_names: for the report.
        cache: folder for outputs; see `collect.default_cache`.
        allow_overlap: go on when test samples stand in the training data too; the report says so.
        pictures: embeddings (t-SNE), which take some seconds.
        include_images: how many forgotten test images to show with the regions either model uses;
            the report then holds them.
        by: who makes the audit, for the report.
        valid_until: last day on which the report may be used.
        files: the models were read from; the report names them with their hashes. A folder or file
            given as `after` is named without it.

    Raises:
        UnspanError: with an exit code and a line that says how to fix it.
    """
    started = time.perf_counter()
    run, request = run or Run(), with_tokens(before, as_request(data))
    folder = Path(cache or default_cache())
    models = open_models(before, after, references, request, run, feature_layer, pool)
    shown = []
    if include_images:  # before the long work, since it may be refused
        shown = panels(models.before, models.after, models.inputs, models.labels, include_images)
    about = identity(models.after.model, _files(after, files), by, valid_until)
    run.plan(_steps(models, request))
    settings = _settings(run, feature_layer, pool)
    with cluster.session(run):
        case = open_case(models, request, run, folder, class_names, allow_overlap)
        return _audited(case, settings, about, folder, shown, pictures, started)


def audit_outputs(
    before: str | Path,
    after: str | Path,
    *,
    references: Sequence[str | Path] = (),
    classes: Sequence[int] = (),
    class_names: Sequence[str] | None = None,
    run: Run | None = None,
    cache: str | Path | None = None,
    pictures: bool = True,
    by: str = "",
    valid_until: date | None = None,
) -> Audit:
    """Measure the same as `audit` from stored outputs, where the models are not here.

    What needs the models themselves is left out, and the report says so: earlier layers, casts,
    noise and altered copies.

    Args:
        before: outputs of the original, a `.npz` file as in `auditing.given_outputs`.
        after: of the erased model.
        references: of models trained without the forgotten data, best several.
        classes: labels to be forgotten; none where the files mark the forgotten samples.
        class_names: names of the labels, for the report.
        run: seed and progress.
        cache: folder of the log of audits.
        pictures: embeddings (t-SNE), which take some seconds.
        by: who makes the audit, for the report.
        valid_until: last day on which the report may be used.

    Raises:
        UnspanError: with an exit code and a line that says how to fix it.
    """
    started = time.perf_counter()
    run = run or Run()
    others = [Path(one) for one in references]
    case = case_of_outputs(Path(before), Path(after), others, run, tuple(classes), class_names)
    names = list(case.fit)
    run.plan(
        planned(
            names,
            names,
            by_class=case.by_class,
            retrained=case.is_compared,
            images=False,
            models=False,
        )
    )
    settings = _settings(run, None, None)
    files = Files(erased=Path(after), original=Path(before), references=others)
    about = identity(None, files, by, valid_until)
    folder = Path(cache or default_cache())
    return _audited(case, settings, about, folder, [], pictures, started)


def _audited(
    case: Case,
    settings: Settings,
    about: Identity,
    cache: Path,
    shown: list[dict[str, Any]],
    pictures: bool,
    started: float,
) -> Audit:
    """Enter the audit in the log, measure and record.

    Args:
        case: models or outputs, and what was asked.
        settings: of the audit.
        about: which files it is about, and who made it.
        cache: folder of the log.
        shown: pictures with the regions that either model uses.
        pictures: embeddings.
        started: when the audit began.
    """
    asked = [case.request.kind, *case.request.selector]
    compared = asdict(settings) | {"reference": case.kind, "references": case.hashes.reference}
    attempt = begin(cache, case.hashes.before, case.hashes.after, asked, compared)
    found = measure(case)
    attempt.end(found.verdict)
    case.run.begin(step(Work.FIGURES))
    drawn = figures.data(case, found.readings, found.white_box, pictures)
    record = recorded(
        case,
        found,
        settings,
        replace(case.hashes, config=attempt.config),
        attempt.earlier,
        replace(drawn, gradcam=[GradcamPicture(**one) for one in shown]),
        about,
        {"total": round(time.perf_counter() - started, 1)},
    )
    return Audit(stored.sealed(record))


def _steps(models: Models, request: Request) -> tuple[Step, ...]:
    """All steps of the audit of these models."""
    networks = ["before", "after", *(one.name for one in models.others)]
    names = [*networks, "pixels"] if models.kind is ReferenceKind.PIXELS else networks
    retrained = models.kind is ReferenceKind.RETRAINED
    by_class = request.kind == "class"
    images = are_images(models.inputs)
    return planned(names, networks, by_class=by_class, retrained=retrained, images=images)


def _files(after: nn.Module | Deletion | str | Path, files: Files | None) -> Files:
    if files is not None:
        return files
    return Files(erased=Path(after)) if isinstance(after, (str, Path)) else Files()


def _settings(run: Run, feature_layer: str | None, pool: Pool | None) -> Settings:
    return Settings(
        seed=run.seed,
        batch_size=run.batch_size,
        attacks="default",
        feature_layer=feature_layer,
        pool=pool,
        rule=Rule(retained_above=RETAINED_ABOVE, room=ROOM, guessing=GUESSING),
    )
