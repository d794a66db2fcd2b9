"""Samples with NaN or infinite numbers: named before a method reads them as something else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unspan.data.batch import Batch
from unspan.data.inputs import cut_rows, first_rows, place
from unspan.errors import DataError
from unspan.extraction.reading import eval_mode, forward, input_like, logits_of
from unspan.extraction.returned import tensors_in

_ADVICE = (
    "Repair that sample or leave it out; where its numbers are right, the model overflows: use"
    " float32 (model.float())."
)


def check_inputs(model: nn.Module, batch: Batch, part: str) -> None:
    """Refuse samples that are NaN or infinite, unless the model copes with them.

    The model is run only on samples of this kind, so that other data cost no pass.

    Args:
        model: in any mode.
        batch: of a part of the data.
        part: for the message, such as `data to keep`.

    Raises:
        DataError: names the sample.
    """
    bad = ~_finite(batch.inputs, len(batch))
    if bool(bad.any()):
        _check(model, cut_rows(batch.inputs, bad.nonzero()[:, 0]), batch, part, bad)


def check_first(model: nn.Module, batch: Batch, part: str) -> None:
    """As `check_inputs`, and the first two samples in any case: the feature layer is found by
    them.
    """
    check_inputs(model, batch, part)
    first = torch.arange(len(batch)) < 2
    _check(model, first_rows(batch.inputs, 2), batch, part, first)


def _check(model: nn.Module, inputs: Any, batch: Batch, part: str, rows: Tensor) -> None:
    """Refuse rows of a batch, given as `inputs`, for which the output is NaN or infinite."""
    with eval_mode(model):
        output = forward(model, place(inputs, input_like(model, inputs)))
    at = rows.nonzero()[:, 0]
    wrong = torch.zeros(len(at), dtype=torch.bool)
    scores = logits_of(output)
    for _, tensor in tensors_in(output if scores is None else scores):
        if tensor.ndim and len(tensor) >= len(at):
            # -inf alone is how a model masks a class
            given = tensor[: len(at)].reshape(len(at), -1)
            wrong |= (torch.isnan(given) | (given == torch.inf)).any(1).cpu()
    if not bool(wrong.any()):
        return
    row = int(at[wrong][0])
    spoilt = not bool(_finite(batch.inputs, len(batch))[row])
    itself = " has NaN or infinite numbers, and it" if spoilt else ""
    raise DataError(
        f"{batch.names[row]} of the {part}{itself} makes the output of {type(model).__name__} NaN"
        f" or infinite. {_ADVICE}"
    )


def _finite(inputs: Any, count: int) -> Tensor:
    """`[count]` bool: samples of which every floating number is finite."""
    good = torch.ones(count, dtype=torch.bool)
    for _, tensor in tensors_in(inputs):
        if tensor.ndim and len(tensor) >= count:
            good &= torch.isfinite(tensor[:count]).reshape(count, -1).all(1).cpu()
    return good
