"""The scores beside the attacks: utility, membership, representation, leakage, casts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from unspan.audit_record.record import ScoreRow
from unspan.audit_record.vocabulary import ScoreGroup
from unspan.errors import DataError
from unspan.metrics.accuracy import (
    calibration_error,
    forget_accuracy,
    macro_accuracy,
    retain_accuracy,
    suppression,
    worst_drop,
)
from unspan.metrics.casts import LIMITS as NULL_LIMITS
from unspan.metrics.casts import cast_scores, null_ratio
from unspan.metrics.fewshot import shots_to
from unspan.metrics.guardedness import guardedness
from unspan.metrics.identity import ScoreKind
from unspan.metrics.leakage import direction_leakage, head_leakage, subspace_leakage
from unspan.metrics.membership import loss_attack, losses, published_loss_attack
from unspan.metrics.outputs import Outputs
from unspan.metrics.retention import harmonic_mean
from unspan.metrics.score import Reading, Score
from unspan.metrics.signature import reference_signature
from unspan.metrics.similarity import fisher_ratio, linear_cka

Head = tuple[Tensor, Tensor]
Row = ScoreRow


def row(group: ScoreGroup, model: str, score: Score, kind: ScoreKind = ScoreKind.OTHER) -> Row:
    """A score with its part of the report and its model."""
    return ScoreRow(group=group, model=model, kind=kind, **vars(score))


def utility(name: str, fit: Outputs, test: Outputs, before: Outputs | None) -> list[Row]:
    """Accuracy of the model's own head on all four splits, macro, calibration, and the worst class
    drop.
    """
    if test.logits is None:
        return []
    rows = [
        row(
            ScoreGroup.UTILITY,
            name,
            forget_accuracy(fit, "train forget"),
            ScoreKind.FORGET_ACCURACY,
        ),
        row(
            ScoreGroup.UTILITY,
            name,
            retain_accuracy(fit, "train retain"),
            ScoreKind.RETAIN_ACCURACY,
        ),
        row(
            ScoreGroup.UTILITY,
            name,
            forget_accuracy(test, "test forget"),
            ScoreKind.FORGET_ACCURACY,
        ),
        row(
            ScoreGroup.UTILITY,
            name,
            retain_accuracy(test, "test retain"),
            ScoreKind.RETAIN_ACCURACY,
        ),
    ]
    for train, held, title in ((rows[0], rows[1], "HM"), (rows[2], rows[3], "HM_t")):
        if train.value is not None and held.value is not None:
            value = harmonic_mean(100 * train.value, 100 * held.value) / 100
            rows.append(
                row(
                    ScoreGroup.PUBLISHED,
                    name,
                    Score(
                        name=title,
                        value=value,
                        better="higher",
                        split=train.split.split()[0],
                        n=train.n + held.n,
                        note="harmonic mean of forgetting and remaining accuracy; own head",
                    ),
                )
            )
    rows += [
        row(ScoreGroup.UTILITY, name, macro_accuracy(test, "test retain")),
        row(ScoreGroup.UTILITY, name, calibration_error(test, "test")),
    ]
    rows += [row(ScoreGroup.OUTPUT, name, score) for score in suppression(test, "test forget")]
    if before is not None:
        rows.append(row(ScoreGroup.UTILITY, name, worst_drop(before, test, "test retain")))
    return rows


def membership(name: str, fit: Outputs, test: Outputs, unseen: Tensor, seed: int) -> list[Row]:
    """Loss attacks: forget training samples against samples that no model was trained on.

    Args:
        name: of the model.
        fit: outputs on training data.
        test: outputs on test data.
        unseen: `[n]` bool, the test rows that belong beside the forget samples and were never
            trained on.
        seed: of cuts and splits.
    """
    split = "train forget against unseen"
    try:
        members, others = losses(fit.rows(fit.forget)), losses(test.rows(unseen))
    except DataError as error:
        return [
            row(
                ScoreGroup.MEMBERSHIP,
                name,
                Score(name="membership, loss attack", value=None, split=split, note=str(error)),
            )
        ]
    published = published_loss_attack(members, others, split, seed=seed)
    return [
        row(ScoreGroup.MEMBERSHIP, name, published, ScoreKind.PUBLISHED_MEMBERSHIP),
        *(
            row(ScoreGroup.MEMBERSHIP, name, score)
            for score in loss_attack(members, others, split, seed=seed)
        ),
    ]


def representation(
    fit: Outputs, test: Mapping[str, Outputs], references: Sequence[str]
) -> list[Row]:
    """How far features moved: CKA with the original and the reference, separation of the forget
    group, exact linear guardedness.
    """
    rows = [
        row(
            ScoreGroup.REPRESENTATION,
            "after",
            replace(
                linear_cka(test["after"].features, test["before"].features, "test"),
                name="linear CKA with the original",
            ),
        )
    ]
    if references and len(test[references[0]]) == len(test["after"]):
        rows.append(
            row(
                ScoreGroup.REPRESENTATION,
                "after",
                replace(
                    linear_cka(test["after"].features, test[references[0]].features, "test"),
                    name="linear CKA with the reference",
                ),
            )
        )
    rows += [
        row(ScoreGroup.REPRESENTATION, name, fisher_ratio(one.features, one.forget, "test"))
        for name, one in test.items()
        if name in ("before", "after")
    ]
    inside, *others = guardedness(fit, test["after"])
    rows.append(row(ScoreGroup.REPRESENTATION, "after", inside, ScoreKind.GUARDEDNESS_FIT))
    return rows + [row(ScoreGroup.REPRESENTATION, "after", score) for score in others]


def against_reference(
    fit: Mapping[str, Outputs], test: Mapping[str, Outputs], references: Sequence[str]
) -> list[Row]:
    """Whether answers on forgotten samples can be told from those of a retrained model; two
    retrained models beside it.
    """
    rows = []
    for name, other in [
        ("after", references[0]),
        *zip(references[:1], references[1:2], strict=False),
    ]:
        pair = [(one[name], one[other]) for one in (fit, test)]
        if all(side.logits is not None for sides in pair for side in sides):
            score = reference_signature(pair[0], pair[1]).score("test forget")
            rows.append(
                row(
                    ScoreGroup.REPRESENTATION,
                    name,
                    replace(
                        score,
                        name=(
                            "answers told from the reference's"
                            if name == "after"
                            else "answers of two references told apart"
                        ),
                        better="reference",
                    ),
                )
            )
    return rows


def relearning(readings: Mapping[str, Sequence[Reading]]) -> list[Row]:
    """How many examples bring each model to half of what the original reads with the most, variant
    by variant.
    """
    rows = []
    for variant in dict.fromkeys(
        one.identity.kind for one in readings["before"] if one.identity.kind.few_shot
    ):
        curves = {
            name: [one for one in found if one.identity.kind is variant]
            for name, found in readings.items()
        }
        title = next(one.detail["variant"] for one in curves["before"])
        target = max(one.value for one in curves["before"]) / 2
        for name, curve in curves.items():
            shots = shots_to(curve, target) if curve else None
            most = max((int(one.detail["m"]) for one in curve), default=0)
            note = "" if shots is not None else f"not reached with {most} examples"
            rows.append(
                row(
                    ScoreGroup.RELEARNING,
                    name,
                    Score(
                        name=f"{title}: examples to read half of the original",
                        value=shots,
                        unit="examples",
                        better="higher",
                        split="test forget",
                        n=len(curve[0].forget) if curve else 0,
                        note=note,
                    ),
                )
            )
    return rows


def leakage(directions: Tensor | None, head: Head | None, fit: Outputs) -> list[Row]:
    """What the shipped eraser and head tell about the samples behind them; `fit` are features of
    the original.
    """
    forget, rest = fit.features[fit.forget], fit.features[~fit.forget]
    rows = []
    if directions is not None:
        rows.append(
            row(
                ScoreGroup.LEAKAGE,
                "after",
                direction_leakage(directions, forget, rest, "train forget"),
            )
        )
        rows.append(
            row(
                ScoreGroup.LEAKAGE,
                "after",
                replace(
                    subspace_leakage(directions, forget, rest).score("train forget"),
                    name="AUC of the share in the removed span",
                ),
            )
        )
    if head is not None:
        rows.append(
            row(
                ScoreGroup.LEAKAGE,
                "after",
                replace(
                    head_leakage(head[0], forget, rest).score("train forget"),
                    name="AUC of what the new head does not read",
                ),
            )
        )
    return rows


def casts(
    test: Outputs, head: Head | None, original: Head | None, directions: Tensor | None
) -> list[Row]:
    """Forget accuracy of the own head in lower precision, quantised and pruned, and what it then
    reads of removed directions.
    """
    if head is None or test.logits is None:
        return []
    found = cast_scores(test, head[0], head[1], "test forget")
    if (
        directions is not None
        and original is not None
        and original[0].shape == head[0].shape
        and bool((original[0].double() @ directions.double()).any())
    ):
        found += [null_ratio(original[0], head[0], directions, how) for how in (None, *NULL_LIMITS)]
    return [row(ScoreGroup.CAST, "after", score) for score in found]


def described(
    rows: Sequence[Row], kind: ScoreKind, model: str, split: str | None = None
) -> Row | None:
    """The score of this kind, None when it is not there."""
    for one in rows:
        if one.kind is kind and one.model == model and split in (None, one.split):
            return one
    return None
