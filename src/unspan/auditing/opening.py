"""From two models and a request to the case of an audit: models opened, outputs collected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from unspan.artifact.deletion import Deletion
from unspan.audit_record.record import Hashes
from unspan.audit_record.vocabulary import ReferenceKind
from unspan.auditing.attack_split import Parts, parts
from unspan.auditing.case import (
    Case,
    check_distinct,
    comparable,
    provenance,
    random_reference,
    with_pixels,
)
from unspan.auditing.collect import Subject, collect, subject
from unspan.data.inputs import first_rows
from unspan.data.loading import batches, peek
from unspan.data.request import Request, digests_of, shared_samples
from unspan.extraction import Pool
from unspan.run import Run

_KNOWN = "outputs, what the attacker knows"
_JUDGED = "outputs, what he is judged on"


@dataclass(frozen=True, kw_only=True)
class Models:
    """The models of an audit, and the first samples they are tried on.

    Attributes:
        before: the original.
        after: the erased model.
        others: the reference models; empty when the inputs themselves are the reference.
        kind: what the references are.
        parts: which samples the attacker knows, and which he is judged on.
        inputs: the first forgotten test samples.
        labels: theirs, None where there are none.
        notes: what the receipt of the erased model says against this audit.
    """

    before: Subject
    after: Subject
    others: list[Subject]
    kind: ReferenceKind
    parts: Parts
    inputs: Any
    labels: Tensor | None
    notes: list[str]


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

    def opened(name: str, model: nn.Module) -> Subject:
        return subject(name, model, example, feature_layer=feature_layer, pool=pool)

    original, erased = opened("before", before), opened("after", _model(after))
    notes = provenance(original, erased, request)
    others = [opened(f"reference {i + 1}", one) for i, one in enumerate(references)]
    check_distinct(others)
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
    fit, fit_digest, known = collect(
        everyone, given.fit_forget, given.fit_retain, run, cache, _KNOWN
    )
    test, test_digest, tested = collect(
        everyone, given.test_forget, given.test_retain, run, cache, _JUDGED
    )
    # the fifth held out of data without stored digests may hold copies of the rest
    by_place = not given.held_out and digests_of(given.fit_forget) is None
    shared = shared_samples(
        "training and test data of the audit", known, tested, allow_overlap or by_place
    )
    names = [one.name for one in models.others]
    if models.kind is ReferenceKind.PIXELS:
        fit, test, names = with_pixels(fit, test, given, run)
    seen = []
    if models.kind is ReferenceKind.RETRAINED:
        seen = comparable(test, names, request.kind == "class")
    return Case(
        request=request,
        parts=given,
        run=run,
        cache=cache,
        subjects=(models.before, models.after),
        others=models.others,
        references=names,
        kind=models.kind,
        fit=fit,
        test=test,
        inputs=models.inputs,
        class_names=class_names,
        notes=[*models.notes, *shared, *seen],
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


def _model(after: nn.Module | Deletion | str | Path) -> nn.Module:
    if isinstance(after, (str, Path)):
        from unspan.artifact import load

        return load(after)
    return after.model if isinstance(after, Deletion) else after
