"""From two models and a request to the case of an audit: models opened, outputs collected."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from unspan.artifact.deletion import Deletion
from unspan.audit_record.circumstances import Hashes
from unspan.audit_record.remarks import Remark, RemarkCode, remark
from unspan.audit_record.vocabulary import ReferenceKind
from unspan.auditing import views
from unspan.auditing.attack_split import parts
from unspan.auditing.case import (
    Asked,
    Case,
    Models,
    check_distinct,
    check_enough,
    comparable,
    provenance,
    random_reference,
    reading,
    with_pixels,
)
from unspan.auditing.collect import collect
from unspan.auditing.readers import OVER_VIEWS
from unspan.auditing.steps import JUDGED, JUDGED_VIEWS, KNOWN, KNOWN_VIEWS
from unspan.auditing.subjects import Subject, subject
from unspan.auditing.sweep import layers_aside, shared_layers, swept
from unspan.data.inputs import first_rows
from unspan.data.loading import batches, peek
from unspan.data.request import Request, classes_in, digests_of, hashed_ids, shared_samples
from unspan.extraction import Pool
from unspan.metrics.outputs import Outputs
from unspan.run import Run
from unspan.system.steps import Step


def open_models(
    before: nn.Module,
    after: nn.Module | Deletion | str | Path,
    references: Sequence[nn.Module],
    request: Request,
    run: Run,
    feature_layer: str | None,
    pool: Pool | None,
) -> Models:
    """Find the feature layer of every model; without references, make one.

    Raises:
        UnspanError: models that do not fit together, or data that cannot be split.
    """
    given = parts(request)
    first, _ = peek(batches(given.test_forget, run, shard=False))
    example = first_rows(first.inputs, 2)
    classes = request.num_classes or classes_in(request)

    def opened(name: str, model: nn.Module) -> Subject:
        return subject(
            name, model, example, feature_layer=feature_layer, pool=pool, classes=classes
        )

    original, erased = opened("before", before), opened("after", _model(after))
    notes = [*reading(original), *provenance(original, erased, request)]
    others = [opened(f"reference {i + 1}", one) for i, one in enumerate(references)]
    check_distinct(
        [(one.name, one.digest) for one in others],
        {"the original": original.digest, "the erased model": erased.digest},
    )
    kind = ReferenceKind.RETRAINED
    if not others:
        others, kind = random_reference(original, example, run, feature_layer, pool)
    return Models(
        before=original,
        after=erased,
        others=others,
        kind=kind,
        parts=given,
        inputs=first.inputs,
        labels=first.labels,
        notes=notes,
    )


def open_case(
    models: Models,
    request: Request,
    run: Run,
    cache: Path,
    class_names: Sequence[str] | None,
    allow_overlap: bool,
) -> Case:
    """Collect the outputs of every model, and check that the references can serve as such.

    Raises:
        UnspanError: samples that stand in training and test data, a reference of another task, or
            a cache that cannot be written.
    """
    given = models.parts
    everyone = [models.before, models.after, *models.others]
    layers = shared_layers(everyone, models.inputs)

    def outputs(forget: Any, retain: Any, stage: Step, chosen: tuple[Any, Any]) -> Any:
        run.begin(stage)
        aside = layers_aside(layers, *chosen)
        return collect(everyone, forget, retain, run, cache, str(stage), aside=aside)

    learned, judged = swept(given)
    fit, fit_digest, known = outputs(given.fit_forget, given.fit_retain, KNOWN, learned)
    check_enough(fit["before"], "data")
    test, test_digest, tested = outputs(given.test_forget, given.test_retain, JUDGED, judged)
    # the fifth held out of data without stored digests may hold copies of the rest
    by_place = not given.held_out and digests_of(given.fit_forget) is None
    overlap = _overlap(known, tested, allow_overlap or by_place)
    names = [one.name for one in models.others]
    if models.kind is ReferenceKind.PIXELS:
        fit, test, names = with_pixels(fit, test, given, run)
    seen = []
    if models.kind is ReferenceKind.RETRAINED:
        seen = comparable(test, names, request.kind == "class")
    fit_views, test_views = _views(everyone, models, run, cache)
    return Case(
        request=Asked(request.kind, tuple(map(str, request.selector)), request.classes),
        run=run,
        cache=cache,
        models=models,
        held_out=given.held_out,
        unseen_retained=given.unseen,
        references=names,
        kind=models.kind,
        fit=fit,
        test=test,
        fit_views=fit_views,
        test_views=test_views,
        class_names=class_names,
        notes=[*models.notes, *overlap, *seen],
        usable=not seen,
        hashes=Hashes(
            before=models.before.digest,
            after=models.after.digest,
            reference=[one.digest for one in models.others],
            fit_data=fit_digest,
            test_data=test_digest,
            config="",
        ),
    )


def _overlap(known: set[bytes], tested: set[bytes], allow: bool) -> list[Remark]:
    """A warning where samples stand in training and test data.

    Raises:
        DataError: they do, and that is not allowed.
    """
    shared = shared_samples("training and test data of the audit", known, tested, allow)
    if not shared:
        return []
    ids = ", ".join(hashed_ids(shared))
    return [remark(RemarkCode.SHARED_SAMPLES, count=len(shared), ids=ids)]


def _views(
    everyone: Sequence[Subject], models: Models, run: Run, cache: Path
) -> tuple[dict[str, Outputs], dict[str, Outputs]]:
    """Outputs of some samples averaged over ten views, where the inputs are images."""
    if not views.are_images(models.inputs):
        return {}, {}
    given = models.parts

    def averaged(forget: Any, retain: Any, counts: tuple[int, int], stage: Step) -> Any:
        run.begin(stage)
        parts = (views.some(forget, counts[0]), views.some(retain, counts[1]))
        return collect(everyone, *parts, run, cache, str(stage), OVER_VIEWS)[0]

    return (
        averaged(given.fit_forget, given.fit_retain, views.KNOWN, KNOWN_VIEWS),
        averaged(given.test_forget, given.test_retain, views.JUDGED, JUDGED_VIEWS),
    )


def _model(after: nn.Module | Deletion | str | Path) -> nn.Module:
    if isinstance(after, (str, Path)):
        from unspan.artifact import load

        return load(after)
    return after.model if isinstance(after, Deletion) else after
