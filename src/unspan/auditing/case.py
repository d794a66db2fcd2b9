"""What an audit works on: models, outputs, the reference and whether it can serve as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unspan.artifact.record import record_of
from unspan.audit_record.circumstances import Hashes
from unspan.audit_record.remarks import Remark, RemarkCode, remark
from unspan.audit_record.vocabulary import ReferenceKind
from unspan.auditing.attack_split import Parts
from unspan.auditing.levels import chance_bound
from unspan.auditing.reference import pixels, random_weights
from unspan.auditing.subjects import Subject, subject
from unspan.data.request import Request
from unspan.errors import DataError, UnspanError, UsageError
from unspan.extraction import Pool
from unspan.metrics.outputs import Outputs
from unspan.report.formatting import percent
from unspan.run import Run

FEWEST = 20  # samples that an attacker learns from


@dataclass(frozen=True)
class Asked:
    """What was to be forgotten.

    Attributes:
        kind: `class`, `samples` or `data`.
        selector: class names, or a count of samples.
        classes: labels that are forgotten; none for requests of samples.
    """

    kind: str
    selector: tuple[str, ...]
    classes: tuple[int, ...]


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
    notes: list[Remark]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Everything an audit works on.

    Attributes:
        request: what was to be forgotten.
        run: device, batch size, seed, progress.
        cache: folder of outputs; None where only outputs were given.
        models: and the samples they are tried on; None where only outputs were given.
        held_out: what he is judged on was never trained on by the original.
        unseen_retained: the retained samples of it were not.
        references: names of the references in `fit` and `test`.
        kind: what the references are.
        fit: outputs on what the attacker knows, by model.
        test: outputs on what he is judged on, by model.
        fit_views: the same of some samples, averaged over ten views; empty where inputs are no
            images.
        test_views: of some samples that he is judged on.
        class_names: for the report.
        notes: warnings from opening.
        usable: no reference has seen the forgotten data.
        hashes: of models and data, without the settings.
    """

    request: Asked
    run: Run
    cache: Path | None
    models: Models | None
    held_out: bool
    unseen_retained: bool
    references: list[str]
    kind: ReferenceKind
    fit: dict[str, Outputs]
    test: dict[str, Outputs]
    fit_views: dict[str, Outputs]
    test_views: dict[str, Outputs]
    class_names: Sequence[str] | None
    notes: list[Remark]
    usable: bool
    hashes: Hashes

    @property
    def by_class(self) -> bool:
        """The request is a class, so the attacker has labels to learn."""
        return self.request.kind == "class"

    @property
    def is_compared(self) -> bool:
        """There are networks retrained without the data, and none has seen it."""
        return self.kind is ReferenceKind.RETRAINED and self.usable

    @property
    def unseen(self) -> Tensor:
        """`[n]` bool: test rows that the original was never trained on."""
        forget = self.test["before"].forget
        return torch.ones_like(forget) if self.held_out else ~forget & self.unseen_retained


def provenance(before: Subject, after: Subject, request: Request) -> list[Remark]:
    """What the receipt inside the erased model says against this audit.

    Raises:
        DataError: the original is not the model that was erased.
    """
    record = record_of(after.model)
    if record is None:
        return []
    receipts = [*record.receipt["previous"], record.receipt]
    if before.digest not in {one["model"]["sha256_before"] for one in receipts}:
        raise DataError(
            "The original is not the model that the receipt names (other weights): give the weights"
            " that were erased (--weights)."
        )
    if request.kind == "class" and not set(request.classes) <= {
        label for one in receipts for label in one["request"]["classes"]
    }:
        asked = ", ".join(name for one in receipts for name in one["request"]["selector"])
        if not asked:
            return [Remark(RemarkCode.OTHER_REQUEST_NO_CLASS)]
        return [remark(RemarkCode.OTHER_REQUEST, names=asked)]
    return []


def reading(before: Subject) -> list[Remark]:
    """What was inferred of the original, where a user may know better."""
    layer = before.feature_layer
    return [remark(RemarkCode.TAKEN_FOR_SCORES, classes=layer.dim)] if layer.scores else []


def check_distinct(references: Sequence[tuple[str, str]], audited: Mapping[str, str]) -> None:
    """Several references tell how much training varies only when they differ (UsageError).

    A model compared with itself shows no difference whatever it knows.

    Args:
        references: name and hash of each.
        audited: hashes of the original and of the erased model, by name.
    """
    for number, (name, digest) in enumerate(references):
        same = next((other for other, known in audited.items() if known == digest), None)
        if same is not None:
            raise UsageError(
                f"{name} and {same} are the same model. Give as a reference only models that were"
                " trained anew without the forgotten data."
            )
        twin = next((other for other, known in references[:number] if known == digest), None)
        if twin is not None:
            raise UsageError(
                f"{name} and {twin} are the same model; give models trained with different seeds."
            )


def check_enough(fit: Outputs, where: str) -> None:
    """An attacker holds a tenth of what he knows back, to choose his settings (DataError).

    Args:
        fit: what he learns from.
        where: the samples are.
    """
    if len(fit) < FEWEST:
        raise DataError(
            f"{where}: the attacker is given {len(fit)} samples to learn from, which decide"
            f" nothing. Give at least {FEWEST}, best the training data."
        )


def random_reference(
    before: Subject, example: Any, run: Run, feature_layer: str | None, pool: Pool | None
) -> tuple[list[Subject], ReferenceKind]:
    """The reference when no retrained model is given, and its kind."""
    try:
        return [
            subject(
                "reference 1",
                random_weights(before.model, run.seed),
                example,
                feature_layer=feature_layer,
                pool=pool,
                classes=before.feature_layer.dim if before.feature_layer.scores else None,
            )
        ], ReferenceKind.RANDOM
    except UnspanError:  # features that are all zero or not finite with random weights
        return [], ReferenceKind.PIXELS


def with_pixels(
    fit: dict[str, Outputs], test: dict[str, Outputs], given: Parts, run: Run
) -> tuple[dict[str, Outputs], dict[str, Outputs], list[str]]:
    """Outputs whose features are the inputs themselves, averaged to 8 x 8."""
    found = []
    for outputs, forget, retain in (
        (fit["before"], given.fit_forget, given.fit_retain),
        (test["before"], given.test_forget, given.test_retain),
    ):
        rows = [pixels(part, run) for part in (forget, retain)]
        if rows[0] is None or rows[1] is None:
            raise UsageError(
                "There is no reference: random weights give no usable features, and the inputs are"
                " not images. Pass a model trained without the forget data (--reference)."
            )
        found.append(
            Outputs(
                features=torch.cat([rows[0], rows[1]]),
                logits=None,
                labels=outputs.labels,
                forget=outputs.forget,
            )
        )
    return fit | {"pixels": found[0]}, test | {"pixels": found[1]}, ["pixels"]


def comparable(test: dict[str, Outputs], references: Sequence[str], by_class: bool) -> list[Remark]:
    """A remark for each reference that has seen the class after all, so it cannot serve as one.

    Raises:
        DataError: a reference is of another task.
    """
    notes = []
    before = test["before"]
    for name in references:
        one = test[name]
        if before.logits is None or one.logits is None or bool((before.labels < 0).any()):
            continue
        own, kept = own_accuracy(before, ~before.forget), own_accuracy(one, ~one.forget)
        if kept < 0.5 * own:
            raise DataError(
                f"{name} is right on {percent(kept)} of the retained test samples, the original on"
                f" {percent(own)}: other classes, other preprocessing, or not trained. Give a model"
                " of the same task."
            )
        seen = own_accuracy(one, one.forget)
        if by_class and seen > chance_bound(
            one.classes()
        ):  # single samples are named by generalisation
            notes.append(remark(RemarkCode.REFERENCE_HAS_SEEN, reference=name, share=seen))
    return notes


def relabelled(case: Case) -> tuple[int, float] | None:
    """Another output that names most forgotten test samples and little else, with its share: a
    class under a new name.
    """
    one = case.test["after"]
    if one.logits is None or not case.by_class:
        return None
    said = one.logits.argmax(1)
    shares = (
        torch.bincount(said[one.forget], minlength=one.logits.shape[1]).double() / one.forget.sum()
    )
    shares[list(case.request.classes)] = 0
    best = int(shares.argmax())
    others = [
        float((said[rows] == best).double().mean())
        for label in one.labels[~one.forget].unique().tolist()
        if bool((rows := (one.labels == label) & ~one.forget).any())
    ]
    return (
        (best, float(shares[best]))
        if float(shares[best]) > 0.5 and max(others, default=0.0) < float(shares[best]) / 2
        else None
    )


def own_accuracy(one: Outputs, rows: Tensor) -> float:
    """Accuracy of the model's own head on some rows."""
    assert one.logits is not None
    return float((one.logits[rows].argmax(1) == one.labels[rows]).double().mean())
