"""The scores beside the attacks: utility, membership, representation, leakage, casts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

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
from unspan.metrics.identity import AttackId, AttackKind, ScoreKind
from unspan.metrics.leakage import direction_leakage, head_leakage, subspace_leakage
from unspan.metrics.membership import loss_attack, losses, published_loss_attack
from unspan.metrics.outputs import Outputs
from unspan.metrics.retention import harmonic_mean
from unspan.metrics.rmia import rmia_scores
from unspan.metrics.score import Reading, Score, auc_reading
from unspan.metrics.signature import reference_signature
from unspan.metrics.similarity import fisher_ratio, linear_cka

Head = tuple[Tensor, Tensor]
Row = dict[str, Any]


def row(group: str, model: str, score: Score, kind: ScoreKind = ScoreKind.OTHER) -> Row:
    """A score as it stands in audit.json."""
    return {"group": group, "model": model, "kind": kind.value} | asdict(score)


def utility(name: str, fit: Outputs, test: Outputs, before: Outputs | None) -> list[Row]:
    """Accuracy of the model's own head on all four splits, macro, calibration, and the worst class
    drop.
    """
    if test.logits is None:
        return []
    rows = [
        row("utility", name, forget_accuracy(fit, "train forget"), ScoreKind.FORGET_ACCURACY),
        row("utility", name, retain_accuracy(fit, "train retain"), ScoreKind.RETAIN_ACCURACY),
        row("utility", name, forget_accuracy(test, "test forget"), ScoreKind.FORGET_ACCURACY),
        row("utility", name, retain_accuracy(test, "test retain"), ScoreKind.RETAIN_ACCURACY),
    ]
    for train, held, title in ((rows[0], rows[1], "HM"), (rows[2], rows[3], "HM_t")):
        if train["value"] is not None and held["value"] is not None:
            value = harmonic_mean(100 * train["value"], 100 * held["value"]) / 100
            rows.append(
                row(
                    "published",
                    name,
                    Score(
                        name=title,
                        value=value,
                        better="higher",
                        split=train["split"].split()[0],
                        n=train["n"] + held["n"],
                        note="harmonic mean of forgetting and remaining accuracy; own head",
                    ),
                )
            )
    rows += [
        row("utility", name, macro_accuracy(test, "test retain")),
        row("utility", name, calibration_error(test, "test")),
    ]
    rows += [row("output", name, score) for score in suppression(test, "test forget")]
    if before is not None:
        rows.append(row("utility", name, worst_drop(before, test, "test retain")))
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
                "membership",
                name,
                Score(name="membership, loss attack", value=None, split=split, note=str(error)),
            )
        ]
    published = published_loss_attack(members, others, split, seed=seed)
    return [
        row("membership", name, published, ScoreKind.PUBLISHED_MEMBERSHIP),
        *(
            row("membership", name, score)
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
            "representation",
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
                "representation",
                "after",
                replace(
                    linear_cka(test["after"].features, test[references[0]].features, "test"),
                    name="linear CKA with the reference",
                ),
            )
        )
    rows += [
        row("representation", name, fisher_ratio(one.features, one.forget, "test"))
        for name, one in test.items()
        if name in ("before", "after")
    ]
    inside, *others = guardedness(fit, test["after"])
    rows.append(row("representation", "after", inside, ScoreKind.GUARDEDNESS_FIT))
    return rows + [row("representation", "after", score) for score in others]


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
                    "representation",
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
                    "relearning",
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
            row("leakage", "after", direction_leakage(directions, forget, rest, "train forget"))
        )
        rows.append(
            row(
                "leakage",
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
                "leakage",
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
    return [row("cast", "after", score) for score in found]


def sample_attack(
    fit: Mapping[str, Outputs],
    test: Mapping[str, Outputs],
    references: Sequence[str],
    by_class: bool,
) -> dict[str, Reading]:
    """RMIA with models that never saw the samples: AUC of the request against unseen samples, in
    the original and the erased model.

    Unseen samples are test samples of the forgotten class for a class request, so that the class
    itself tells nothing, else half of the other test samples; the population is the (other half of
    the) retained test samples.
    """

    def log_probability(one: Outputs, rows: Tensor) -> Tensor:
        assert one.logits is not None
        return (
            one.logits[rows].double().log_softmax(1).gather(1, one.labels[rows][:, None]).squeeze(1)
        )

    found = {}
    for name in ("before", "after"):
        if fit[name].logits is None or bool((fit[name].labels[fit[name].forget] < 0).any()):
            return {}
        member, other = fit[name].forget, ~test[name].forget
        half = torch.arange(len(test[name])) % 2 == 0
        population, outside = (
            (other, test[name].forget) if by_class else (other & half, other & ~half)
        )
        q = {
            key: torch.stack(
                [
                    log_probability(fit[one] if key == "member" else test[one], mask)
                    for one in references
                ]
            )
            for key, mask in (("member", member), ("population", population), ("outside", outside))
        }
        p = {
            "member": log_probability(fit[name], member),
            "population": log_probability(test[name], population),
            "outside": log_probability(test[name], outside),
        }
        scores = {
            key: rmia_scores(p[key], q[key], p["population"], q["population"])
            for key in ("member", "outside")
        }
        area = auc_reading(
            "membership of single samples (RMIA)", scores["member"], scores["outside"]
        )
        found[name] = replace(area, identity=AttackId(AttackKind.MEMBERSHIP))
    return found


def score_of(one: Row) -> Score:
    """A score again, from its row."""
    return Score(
        **{key: value for key, value in one.items() if key not in ("group", "model", "kind")}
    )


def described(
    rows: Sequence[Row], kind: ScoreKind, model: str, split: str | None = None
) -> Score | None:
    """The score of this kind, None when it is not there."""
    return next(
        (
            score_of(one)
            for one in rows
            if (one["kind"], one["model"]) == (kind, model) and split in (None, one["split"])
        ),
        None,
    )
