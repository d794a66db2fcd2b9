"""Scores of features and delivered files: how far features moved, what files give away, casts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from unspan.audit_record.results import ScoreRow
from unspan.audit_record.vocabulary import ScoreGroup
from unspan.auditing.scores import row
from unspan.metrics.casts import LIMITS as NULL_LIMITS
from unspan.metrics.casts import cast_scores, null_ratio
from unspan.metrics.guardedness import guardedness
from unspan.metrics.identity import ScoreKind
from unspan.metrics.leakage import direction_leakage, head_leakage, subspace_leakage
from unspan.metrics.nearest_rank import nearest_rank
from unspan.metrics.outputs import Outputs
from unspan.metrics.score import Score
from unspan.metrics.signature import reference_signature
from unspan.metrics.similarity import fisher_ratio, linear_cka

Head = tuple[Tensor, Tensor]
REPRESENTATION, LEAKAGE = ScoreGroup.REPRESENTATION, ScoreGroup.LEAKAGE


def representation(
    fit: Outputs, test: Mapping[str, Outputs], references: Sequence[str]
) -> list[ScoreRow]:
    """How far features moved: CKA with the original and the reference, separation of the forget
    group, exact linear guardedness.
    """
    compared = {"the original": test["before"]}
    if references and len(test[references[0]]) == len(test["after"]):
        compared["the reference"] = test[references[0]]
    rows = []
    for name, other in compared.items():
        score = linear_cka(test["after"].features, other.features, "test")
        rows.append(row(REPRESENTATION, "after", replace(score, name=f"linear CKA with {name}")))
    for name in ("before", "after"):
        score = fisher_ratio(test[name].features, test[name].forget, "test")
        rows.append(row(REPRESENTATION, name, score))
    inside, *others = guardedness(fit, test["after"])
    rows.append(row(REPRESENTATION, "after", inside, ScoreKind.GUARDEDNESS_FIT))
    return rows + [row(REPRESENTATION, "after", score) for score in others]


def ranks(fit: Mapping[str, Outputs], seed: int) -> list[ScoreRow]:
    """How near forgotten training samples lie to retained ones, for every model."""
    split = "train forget"
    return [row(REPRESENTATION, name, nearest_rank(one, split, seed)) for name, one in fit.items()]


def against_reference(
    fit: Mapping[str, Outputs], test: Mapping[str, Outputs], references: Sequence[str]
) -> list[ScoreRow]:
    """Whether answers on forgotten samples can be told from those of a retrained model; two
    retrained models beside it.
    """
    pairs = [("after", references[0], "answers told from the reference's")]
    if len(references) > 1:
        title = "answers of two references told apart"
        pairs.append((references[0], references[1], title))
    rows = []
    for name, other, title in pairs:
        known, tested = (fit[name], fit[other]), (test[name], test[other])
        if all(one.logits is not None for one in (*known, *tested)):
            score = reference_signature(known, tested).score("test forget")
            rows.append(row(REPRESENTATION, name, replace(score, name=title, better="reference")))
    return rows


def leakage(directions: Tensor | None, head: Head | None, fit: Outputs) -> list[ScoreRow]:
    """What the shipped eraser and head tell about the samples behind them.

    Args:
        directions: `[d, k]` that were removed, None when they are not known.
        head: weight and bias of the new head, None when there is none.
        fit: outputs of the original.
    """
    forget, rest = fit.features[fit.forget], fit.features[~fit.forget]
    found: list[Score] = []
    if directions is not None:
        span = subspace_leakage(directions, forget, rest).score("train forget")
        found.append(direction_leakage(directions, forget, rest, "train forget"))
        found.append(replace(span, name="AUC of the share in the removed span"))
    if head is not None:
        unread = head_leakage(head[0], forget, rest).score("train forget")
        found.append(replace(unread, name="AUC of what the new head does not read"))
    return [row(LEAKAGE, "after", one) for one in found]


def casts(
    test: Outputs, head: Head | None, original: Head | None, directions: Tensor | None
) -> list[ScoreRow]:
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
