"""Statistics from a file, for one model and request."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unspan.erasers import Affine, Eraser, LogitMarginEraser, head_rows
from unspan.erasers.composition import parts_of
from unspan.errors import UsageError
from unspan.extraction.statistics.record import Statistics, load
from unspan.system.digests import state_hash

_SAME_ROW = 1e-2  # of the largest entry of a column


def load_for(
    path: str,
    head: tuple[Tensor, Tensor] | None,
    earlier_eraser: Eraser | None,
    model: nn.Module | None,
) -> Statistics:
    """Statistics from a file, after checking that they describe the features of a request.

    Args:
        path: of the file.
        head: weight `[C, d]` and bias `[C]` of the model; None where it has none.
        earlier_eraser: eraser of earlier requests that the features went through.
        model: whose weights are compared; None compares none.

    Raises:
        UsageError: they are of other weights, of another head, or of features that an earlier
            request has changed.
        ModelError: the file cannot be read.
    """
    found = load(path)
    erasers = [] if earlier_eraser is None else parts_of(earlier_eraser)
    if any(isinstance(part, Affine | LogitMarginEraser) for part in erasers):
        raise UsageError(
            f"{path} is of the original features, which the eraser of an earlier request has"
            " changed for all samples. Give the retain set instead."
        )
    if found.model and model is not None and found.model != state_hash(model.state_dict()):
        raise UsageError(
            f"{path} is of other weights than this model has; write statistics of this one with"
            " unspan stats."
        )
    if head is not None and not _is_of_head(found, head_rows(head)):
        raise UsageError(
            f"{path} is of a model with another head; write statistics of this one with unspan"
            " stats."
        )
    return found


def check_width(path: str, dim: int) -> None:
    """Refuse statistics of features that have not `dim` numbers (UsageError)."""
    width = load(path).mean.shape[1]
    if width != dim:
        raise UsageError(
            f"{path} is of features with d={width}, the model has d={dim}: statistics of another"
            " model or layer."
        )


def _is_of_head(found: Statistics, rows: Tensor) -> bool:
    """Whether clusters are scored by the rows `[C, d + 1]` of a head, column by column."""
    if not bool((found.labels >= 0).all()) or int(found.labels.max()) >= len(rows):
        return False
    own = rows[found.labels]
    near = (own - found.rows).abs() <= _SAME_ROW * own.abs().amax(0)
    return bool(torch.all(near))
