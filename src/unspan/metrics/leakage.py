"""Does the shipped model say who was erased? What its null directions and its edited head tell
about samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unspan.errors import DataError
from unspan.metrics.probes import CHUNK
from unspan.metrics.score import Reading, Score, auc_reading


def null_directions(before: Tensor, after: Tensor) -> Tensor:
    """Orthonormal basis `[d, k]` of what an edit took from the head: row space of `W - W'`, for a
    holder of both.

    For `W' = W (I - U U')` it lies in the span of U, and is all of it when `W U` has rank k; at
    most C directions show.

    Args:
        before: head weight W, `[C, d]`.
        after: W', `[C, d]`.

    Raises:
        DataError: shapes differ, or the weights are equal.
    """
    if before.shape != after.shape:
        raise DataError(f"The heads have shapes {list(before.shape)} and {list(after.shape)}.")
    unit = before.double().norm(dim=0)  # of every column, so that none hides behind another
    unit = unit.where(unit > 0, torch.ones_like(unit))
    change = (before.double() - after.double()) / unit
    _, sigma, right = torch.linalg.svd(change, full_matrices=False)
    found = right[sigma > 1e-5 * (before.double() / unit).norm()] * unit
    if len(found) == 0:
        raise DataError("The heads are equal: no direction was removed from this head.")
    found = found / found.norm(dim=1, keepdim=True)
    return torch.linalg.svd(found, full_matrices=False)[2].mT.contiguous()


def direction_leakage(directions: Tensor, forget: Tensor, retained: Tensor, split: str) -> Score:
    """Largest `|cos|` between a removed direction and a forget sample, in [0, 1]; lower is better,
    1 publishes the sample.

    `detail["rank"]` is the place of that sample among the retained ones, each by its own largest
    |cos| (1: nobody fits the direction better; ties count against the sample). A request of one
    sample gives 1 and rank 1.

    Args:
        directions: `[d, k]` removed directions as stored, not necessarily of length 1.
        forget: `[n, d]` features of the request *before* erasing.
        retained: `[r, d]` features of other samples before erasing.
        split: which samples.

    Raises:
        DataError: empty or unequal d.
    """
    _check(directions, forget, retained)
    unit = directions.double() / directions.double().norm(dim=0).clamp_min(1e-300)
    fits, others = (_onto(part, unit).abs().amax(1) for part in (forget, retained))
    value = min(float(fits.max()), 1.0)
    rank = 1 + int((others > fits.max()).sum())
    return Score(
        name="removed direction shows a sample",
        value=value,
        unit="1",
        better="lower",
        split=split,
        n=len(forget),
        detail={"rank": rank, "of": len(retained) + 1},
    )


def subspace_leakage(directions: Tensor, forget: Tensor, retained: Tensor) -> Reading:
    """AUC with which the share `|U' f| / |f|` of a feature in the removed span tells forget samples
    from others; 0.5 is best.

    Args:
        directions: `[d, k]`; made orthonormal first.
        forget: `[n, d]` features before erasing.
        retained: `[r, d]`.

    Raises:
        DataError: empty or unequal d.
    """
    _check(directions, forget, retained)
    basis, sigma, _ = torch.linalg.svd(directions.double(), full_matrices=False)
    basis = basis[:, sigma > 1e-6 * sigma[0]]
    shares = [_onto(part, basis).norm(dim=1) for part in (forget, retained)]
    return auc_reading(
        "removed span",
        *shares,
        directions=basis.shape[1],
        smallest_forget=float(shares[0].min()),
        largest_retained=float(shares[1].max()),
    )


def head_leakage(weight: Tensor, forget: Tensor, retained: Tensor) -> Reading:
    """AUC with which a small `|W' f| / |f|` marks forget samples, for a holder of the edited head
    only; 0.5 is best.

    Args:
        weight: edited head W', `[C, d]`.
        forget: `[n, d]` features before erasing.
        retained: `[r, d]`.

    Raises:
        DataError: empty or unequal d.
    """
    _check(weight.mT, forget, retained)
    lengths = [_onto(part, weight.double().mT).norm(dim=1) for part in (forget, retained)]
    detail = {
        "largest_forget": float(lengths[0].max()),
        "smallest_retained": float(lengths[1].min()),
    }
    return auc_reading("edited head", -lengths[0], -lengths[1], **detail)


def _onto(features: Tensor, directions: Tensor) -> Tensor:
    """`[n, k]` products of rows of length 1 with `[d, k]` directions, in float64, a slice of rows
    at a time.
    """
    parts = [
        rows.double() @ directions / rows.double().norm(dim=1, keepdim=True).clamp_min(1e-300)
        for rows in features.split(CHUNK)
    ]
    return torch.cat(parts)


def _check(directions: Tensor, forget: Tensor, retained: Tensor) -> None:
    d = directions.shape[0]
    if (
        directions.ndim != 2
        or directions.numel() == 0
        or any(
            part.ndim != 2 or part.shape[1] != d or len(part) == 0 for part in (forget, retained)
        )
    ):
        raise DataError(
            "Leakage needs directions [d, k] and features [n, d], none empty; got"
            f" {[list(part.shape) for part in (directions, forget, retained)]}."
        )
