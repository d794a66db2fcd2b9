"""Comparisons of a later model with the erased one that it was made from, for `recheck`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from unspan.artifact.record import Record
from unspan.data.inputs import place
from unspan.data.loading import batches
from unspan.erasers import placed
from unspan.erasure.evaluation import interval
from unspan.errors import DataError
from unspan.extraction import FeatureLayer, eval_mode, input_like, logits_of, read, unwrap
from unspan.metrics.linear import fit_linear
from unspan.run import Run

Finding = Literal["as at deletion", "back", "cannot tell", "not compared"]

FEWEST = 20  # forget samples from which anything is said
_NOISE = 1e-6  # deviation of a column, as a share of the largest
_RISE = 0.1  # rise of a probe, and change by the eraser, from which it counts


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison.

    Attributes:
        what: what was measured, in words.
        n: samples.
        erased: value of the erased model, a share.
        now: value of the new model.
        low: lower end of the 95 % Clopper-Pearson interval of `now`; None where it is no count.
        high: its upper end.
        finding: what the comparison says.
    """

    what: str
    n: int
    erased: float
    now: float
    low: float | None
    high: float | None
    finding: Finding


@dataclass(frozen=True)
class ModelOutputs:
    """What a model gives for one part of the data, each None where there is none.

    Attributes:
        features: `[n, d]`.
        scores: `[n, C]`.
        labels: `[n]` of the data.
    """

    features: Tensor | None
    scores: Tensor | None
    labels: Tensor | None


def outputs_of(model: nn.Module, feature_layer: FeatureLayer, data: Any, run: Run) -> ModelOutputs:
    """Features, scores and labels of a part of the data, each None where there are none."""
    inner = unwrap(model)
    if data is None or feature_layer.reads not in dict(inner.named_modules()):
        return ModelOutputs(None, None, None)
    parts: list[list[Tensor | None]] = [[], [], []]
    with eval_mode(inner):
        for batch in batches(data, run, shard=False):
            inputs = place(batch.inputs, input_like(inner, batch.inputs))
            features, output = read(inner, feature_layer, inputs)
            scores = logits_of(output)
            parts[0].append(features[: len(batch)].float().cpu())
            parts[1].append(None if scores is None else scores[: len(batch)].flatten(1).cpu())
            parts[2].append(batch.labels)
    return ModelOutputs(*(_joined(part) for part in parts))


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    held = [part for part in parts if part is not None]
    return torch.cat(held) if held and len(held) == len(parts) else None


def compare_accuracy(
    what: str, erased: ModelOutputs, now: ModelOutputs, *, decides: bool
) -> Row | None:
    """Accuracy of both models; back where it lies above chance and above that at deletion."""
    if erased.scores is None or now.scores is None or now.labels is None:
        return None
    classes = now.scores.shape[1]
    if classes < 2 or classes != erased.scores.shape[1] or int(now.labels.max()) >= classes:
        return None
    n = len(now.labels)
    hits = [int((one.argmax(1) == now.labels).sum()) for one in (erased.scores, now.scores)]
    low, high = interval(hits[1], n)
    limit = max(interval(hits[0], n)[1], min(2 / classes, (1 + 1 / classes) / 2))
    finding: Finding = "not compared"
    if decides:
        finding = "back" if low > limit else "as at deletion" if high <= limit else "cannot tell"
        finding = "cannot tell" if n < FEWEST else finding
    return Row(
        what=what, n=n, erased=hits[0] / n, now=hits[1] / n, low=low, high=high, finding=finding
    )


def compare_movement_by_eraser(
    record: Record, erased: ModelOutputs, now: ModelOutputs
) -> Row | None:
    """How far the eraser would still move the features: little where it was applied."""
    if record.eraser is None or erased.features is None or now.features is None:
        return None
    if erased.features.shape != now.features.shape:
        return None
    moved = []
    for features in (erased.features, now.features):
        gap = placed(record.eraser, "last", features)(features) - features
        moved.append(float((gap.norm(dim=1) / features.norm(dim=1).clamp_min(1e-12)).mean()))
    n = len(now.features)
    finding: Finding = "back" if moved[1] > moved[0] + _RISE else "as at deletion"
    return Row(
        what="share of forget features that the eraser would still change",
        n=n,
        erased=moved[0],
        now=moved[1],
        low=None,
        high=None,
        finding="cannot tell" if n < FEWEST else finding,
    )


def compare_probes(
    erased: Sequence[ModelOutputs], now: Sequence[ModelOutputs], run: Run
) -> Row | None:
    """Forget samples that a converged linear probe tells from retained ones, fitted on one half
    and judged on the other.
    """
    shares = []
    for forget, kept in (erased, now):
        if forget.features is None or kept.features is None:
            return None
        if min(len(forget.features), len(kept.features)) < 2 * FEWEST:
            return None
        kept_rows = kept.features[:: max(1, len(kept.features) // (4 * len(forget.features)))]
        x = _varied(torch.cat([forget.features, kept_rows]))
        if x.shape[1] == 0:
            return None
        y = torch.cat([torch.ones(len(forget.features)), torch.zeros(len(kept_rows))]).long()
        odd = torch.arange(len(x)) % 2 == 1
        weights = torch.where(y == 1, (y == 0).sum() / (y == 1).sum(), torch.tensor(1.0))
        try:
            probe = fit_linear(x[odd], y[odd], 2, c=(1.0,), seed=run.seed, weights=weights[odd])
        except DataError:
            return None
        if not probe.converged:
            return None
        right = probe.predict(x[~odd])[y[~odd] == 1] == 1
        shares.append((int(right.sum()), len(right)))
    (hits_erased, n), (hits, _) = shares
    low, high = interval(hits, n)
    rose = low > interval(hits_erased, n)[1] and hits - hits_erased > _RISE * n
    return Row(
        what="forget samples that a linear probe on the features finds",
        n=n,
        erased=hits_erased / n,
        now=hits / n,
        low=low,
        high=high,
        finding="back" if rose else "as at deletion",
    )


def _varied(features: Tensor) -> Tensor:
    """Columns that vary more than rounding does; an eraser leaves traces of 1e-20 in dead ones,
    which a probe would blow up.
    """
    spread = features.double().std(0)
    return features[:, spread > _NOISE * spread.max()]
