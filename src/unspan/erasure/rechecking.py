"""recheck(): whether a model made from an erased one still lacks what was erased."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import Subset

from unspan.artifact import load
from unspan.artifact.deletion import Deletion
from unspan.artifact.record import Record, record_of
from unspan.data.indexed import is_indexed
from unspan.data.request import as_request
from unspan.erasure.comparing import (
    FEWEST,
    Row,
    compare_accuracy,
    compare_movement_by_eraser,
    compare_probes,
    outputs_of,
)
from unspan.errors import ModelError, UsageError
from unspan.extraction import CHILD, detach, unwrap
from unspan.models.copying import copied
from unspan.models.sentences import with_tokens
from unspan.run import Run

State = Literal["suppressed", "back", "cannot tell"]

_MOST = 2000  # samples of either part that are read


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
    run, request = run or Run(), with_tokens(model, as_request(data))
    erased = _erased(model, deletion, trust_code)
    record = record_of(erased)
    assert record is not None
    new = model if run.device is None else copied(model, run.device)
    erased = erased if run.device is None else copied(erased, run.device)
    forget = _spread(request.forget)
    kept = None if request.retain is None else _spread(request.retain)
    before = [outputs_of(erased, record.feature_layer, part, run) for part in (forget, kept)]
    after = [outputs_of(new, record.feature_layer, part, run) for part in (forget, kept)]
    rows = [
        compare_accuracy("accuracy on forget samples", before[0], after[0], decides=True),
        compare_accuracy("accuracy on retained samples", before[1], after[1], decides=False),
        compare_movement_by_eraser(record, before[0], after[0]),
        compare_probes(before, after, run),
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
        own = record_of(bare)
        if own is not None and own.placement == "hook" and _buffers(bare):
            detach(bare, own.feature_layer)
        try:
            return load(deletion, model=bare)
        except ModelError:
            raise error from None


def _spread(data: Any) -> Any:
    """At most 2000 samples of data with a length, evenly spread."""
    if not is_indexed(data):
        return data
    return Subset(data, range(0, len(data), max(1, -(-len(data) // _MOST))))


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
            f"too little to compare: give {FEWEST} forget samples or more, with labels, and a"
            " model whose layers have the same names"
        )
    return Recheck(state=state, reasons=(*reasons, *said), rows=rows)


def _ends(row: Row) -> str:
    return "" if row.low is None else f" [{row.low:.1%}, {row.high:.1%}]"
