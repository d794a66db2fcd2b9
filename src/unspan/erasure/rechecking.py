"""recheck(): whether a model made from an erased one still lacks what was erased."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import Subset

from unspan.artifact import load
from unspan.artifact.deletion import RECORD, Deletion, Record
from unspan.data.inputs import place
from unspan.data.loading import batches
from unspan.data.request import as_request
from unspan.erasers import placed
from unspan.erasure.evaluation import interval
from unspan.errors import DataError, ModelError, UsageError
from unspan.extraction import (
    CHILD,
    FeatureLayer,
    detach,
    eval_mode,
    input_like,
    logits_of,
    read,
    unwrap,
)
from unspan.metrics.linear import fit_linear
from unspan.models.copying import copied
from unspan.run import Run

State = Literal["suppressed", "back", "cannot tell"]
Finding = Literal["as at deletion", "back", "cannot tell", "not compared"]

_MOST = 2000  # samples of either part that are read
_FEWEST = 20  # forget samples from which anything is said
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


@dataclass(frozen=True, kw_only=True)
class Recheck:
    """What `recheck` found.

    Attributes:
        state: `back` where one comparison says so; `suppressed` where one holds and no other
            speaks against it.
        reasons: why, one line each.
        rows: the comparisons.
    """

    state: State
    reasons: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class _Outputs:
    features: Tensor | None
    scores: Tensor | None
    labels: Tensor | None


def recheck(
    model: nn.Module,
    deletion: Deletion | str | Path,
    data: Any,
    run: Run | None = None,
    *,
    trust_code: bool = False,
) -> Recheck:
    """Compare a model with the erased one that it was made from, by training, merging or
    quantisation.

    Args:
        model: the new model; not changed.
        deletion: the `Deletion`, or its folder.
        data: the request, as in `erase`; samples that no training saw tell most.
        run: device, batch size, seed, progress.
        trust_code: build a `python:` model of the folder, which runs the code it names.

    Raises:
        UsageError: the erased model cannot be built, or the new model is no module.
        ModelError: the folder is damaged.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(f"model is a {type(model).__name__}; give the new torch.nn.Module.")
    run, request = run or Run(), as_request(data)
    erased = _erased(model, deletion, trust_code)
    record: Record = getattr(unwrap(erased), RECORD)
    new = model if run.device is None else copied(model, run.device)
    erased = erased if run.device is None else copied(erased, run.device)
    forget = _spread(request.forget)
    kept = None if request.retain is None else _spread(request.retain)
    before = [_outputs(erased, record.feature_layer, part, run) for part in (forget, kept)]
    after = [_outputs(new, record.feature_layer, part, run) for part in (forget, kept)]
    rows = [
        _accuracy("accuracy on forget samples", before[0], after[0], decides=True),
        _accuracy("accuracy on retained samples", before[1], after[1], decides=False),
        _erased_again(record, before[0], after[0]),
        _probe(before, after, run),
    ]
    found = tuple(row for row in rows if row is not None)
    return _decided(found, [_eraser_in(unwrap(model), unwrap(erased), record)])


def _erased(model: nn.Module, deletion: Deletion | str | Path, trust_code: bool) -> nn.Module:
    if isinstance(deletion, Deletion):
        return deletion.model
    try:
        return load(deletion, trust_code=trust_code)
    except UsageError as error:
        bare = copied(unwrap(model))
        own: Record | None = getattr(bare, RECORD, None)
        if own is not None and own.placement == "hook" and _buffers(bare):
            detach(bare, own.feature_layer)
        try:
            return load(deletion, model=bare)
        except ModelError:
            raise error from None


def _spread(data: Any) -> Any:
    """At most 2000 samples of data with a length, evenly spread."""
    if not hasattr(data, "__getitem__") or not hasattr(data, "__len__"):
        return data
    return Subset(data, range(0, len(data), max(1, -(-len(data) // _MOST))))


def _outputs(model: nn.Module, feature_layer: FeatureLayer, data: Any, run: Run) -> _Outputs:
    """Features, scores and labels of a part of the data, each None where there are none."""
    inner = unwrap(model)
    if data is None or feature_layer.reads not in dict(inner.named_modules()):
        return _Outputs(None, None, None)
    parts: list[list[Tensor | None]] = [[], [], []]
    with eval_mode(inner):
        for batch in batches(data, run, shard=False):
            inputs = place(batch.inputs, input_like(inner, batch.inputs))
            features, output = read(inner, feature_layer, inputs)
            scores = logits_of(output)
            parts[0].append(features[: len(batch)].float().cpu())
            parts[1].append(None if scores is None else scores[: len(batch)].flatten(1).cpu())
            parts[2].append(batch.labels)
    return _Outputs(*(_joined(part) for part in parts))


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    held = [part for part in parts if part is not None]
    return torch.cat(held) if held and len(held) == len(parts) else None


def _accuracy(what: str, erased: _Outputs, now: _Outputs, *, decides: bool) -> Row | None:
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
        finding = "cannot tell" if n < _FEWEST else finding
    return Row(
        what=what, n=n, erased=hits[0] / n, now=hits[1] / n, low=low, high=high, finding=finding
    )


def _erased_again(record: Record, erased: _Outputs, now: _Outputs) -> Row | None:
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
        finding="cannot tell" if n < _FEWEST else finding,
    )


def _probe(erased: Sequence[_Outputs], now: Sequence[_Outputs], run: Run) -> Row | None:
    """Forget samples that a converged linear probe tells from retained ones, fitted on one half
    and judged on the other.
    """
    shares = []
    for forget, kept in (erased, now):
        if forget.features is None or kept.features is None:
            return None
        if min(len(forget.features), len(kept.features)) < 2 * _FEWEST:
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


def _eraser_in(new: nn.Module, erased: nn.Module, record: Record) -> str:
    """Whether the eraser module is in the new model, in words."""
    if record.placement != "hook":
        return "the deletion is in the weights: there is no eraser module to look for"
    ours, theirs = (_buffers(one) for one in (erased, new))
    if not theirs:
        return "the eraser module of the deletion is not in the new model"
    same = ours.keys() == theirs.keys() and all(
        torch.allclose(ours[name].float(), theirs[name].float(), rtol=1e-2, atol=1e-3)
        for name in ours
        if ours[name].shape == theirs[name].shape
    )
    return f"the eraser module is in the new model, {'unchanged' if same else 'with other values'}"


def _buffers(model: nn.Module) -> dict[str, Tensor]:
    found = [one for name, one in model.named_modules() if name.rpartition(".")[2] == CHILD]
    return {name: value.cpu() for one in found for name, value in one.named_buffers()}


def _decided(rows: tuple[Row, ...], said: list[str]) -> Recheck:
    reasons = [
        f"{row.what}: {row.now:.1%}{_ends(row)} now, {row.erased:.1%} at deletion (n = {row.n}):"
        f" {row.finding}"
        for row in rows
    ]
    findings = {row.finding for row in rows}
    state: State = "cannot tell"
    if "back" in findings:
        state = "back"
    elif "as at deletion" in findings and "cannot tell" not in findings:
        state = "suppressed"
    if not findings & {"back", "as at deletion"}:
        reasons.append(
            f"too little to compare: give {_FEWEST} forget samples or more, with labels, and a"
            " model whose layers have the same names"
        )
    return Recheck(state=state, reasons=(*reasons, *said), rows=rows)


def _ends(row: Row) -> str:
    return "" if row.low is None else f" [{row.low:.1%}, {row.high:.1%}]"
