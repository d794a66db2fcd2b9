"""The map of a deletion on vectors: of its folder and checked on samples, or fitted to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unspan.artifact.deletion import Deletion
from unspan.artifact.inspection import inspect
from unspan.artifact.stored_eraser import stored_eraser
from unspan.erasers import Eraser, LinearMap, is_mapped
from unspan.errors import DataError, InconclusiveError, UsageError
from unspan.galleries.pairs import Pairs
from unspan.system.digests import state_hash

_AGREE = 2e-3  # of the largest number: rounding of float16, and passes in other batches
_HALF = (torch.float16, torch.bfloat16)
_RIDGES = (1e-6, 1e-4, 1e-2, 1.0)  # shares of the mean variance of a feature
_NEIGHBOURS = 10
_FEWEST = 40  # pairs of which a map is fitted


@dataclass(frozen=True)
class Map:
    """A map on stored vectors, and the deletion that it is of.

    Attributes:
        eraser: the map.
        dim: d.
        receipt: of the deletion.
        held: what samples say of the map, JSON-ready.
    """

    eraser: Eraser
    dim: int
    receipt: dict[str, Any]
    held: dict[str, Any] = field(default_factory=dict)

    @property
    def account(self) -> dict[str, Any]:
        """What the receipt of `apply` says of it."""
        digest = state_hash(dict(self.eraser.named_buffers()))
        return {"sha256": digest, "dim": self.dim, **self.held}


def receipt_of(erased: Deletion | str | Path) -> dict[str, Any]:
    """The receipt of a deletion (InconclusiveError where its guard refused it)."""
    if isinstance(erased, Deletion):
        erased.check()
    receipt = erased.receipt if isinstance(erased, Deletion) else inspect(Path(erased))
    if receipt.get("collateral", {}).get("refused"):
        raise InconclusiveError(receipt["collateral"]["refused"])
    return receipt


def map_of(erased: Deletion | str | Path, pairs: Pairs | None) -> Map:
    """The map of a deletion, checked on pairs where there are some.

    Raises:
        UsageError: its method changed the weights.
        DataError: the stored vectors of the samples do not become what the erased model gives.
    """
    receipt = receipt_of(erased)
    if receipt["placement"]["eraser"] is None:
        raise UsageError(
            f"{receipt['method']['name']} changed the weights: there is no map on features. Embed"
            " the samples of the gallery again with the erased model (--list-ids says which). Or"
            " give some of them with --check, and fit a map to their old and new vectors with"
            " --fit-map."
        )
    eraser = erased.eraser if isinstance(erased, Deletion) else stored_eraser(Path(erased))[0]
    assert eraser is not None
    dim = receipt["placement"]["feature_layer"]["dim"]
    return Map(eraser, dim, receipt, {} if pairs is None else {"check": _checked(eraser, pairs)})


def _checked(eraser: Eraser, pairs: Pairs) -> dict[str, Any]:
    """How many stored vectors become what the erased model gives (DataError where one does not).

    Rounding of stored vectors can lead a map with jumps to another draw, which is as good.
    """
    new = pairs.new.to(pairs.stored.dtype)
    with torch.no_grad():
        made = eraser.map_stored(pairs.stored)
        agree = is_mapped(eraser, "last", pairs.stored, new, _AGREE)
    away = (made - new).float().abs().amax(1) / new.float().abs().max().clamp_min(1e-12)
    wrong = away > _AGREE
    moved = (made != pairs.stored).any(1)
    if not agree and (pairs.stored.dtype not in _HALF or bool((wrong & ~moved).any())):
        raise DataError(
            f"{int(wrong.sum())} of {len(pairs)} stored vectors do not become what the erased model"
            f" gives for the same samples. {_reason(made[wrong], new[wrong], len(pairs))} Nothing"
            " was written. Embed the gallery with this model and layer, or fit a map to the pairs"
            " with --fit-map."
        )
    held = {"samples": len(pairs), "largest_difference": float(away[~wrong].max())}
    return held if agree else held | {"other_draws": int(wrong.sum())}


def _reason(made: Tensor, new: Tensor, count: int) -> str:
    """What the vectors that differ look like."""
    if len(made) < count / 2:
        return "Most agree: some rows were changed or mapped before, or ids name other samples."
    cosines = torch.nn.functional.cosine_similarity(made.float(), new.float(), dim=1)
    if float(cosines.median()) > 1 - _AGREE:
        return "They point the same way: the stored vectors were scaled, or normalised."
    return "They are of another model, layer or preparation of inputs, or ids name other samples."


def fitted_map(erased: Deletion | str | Path, pairs: Pairs, allowed: float) -> Map:
    """An affine map from stored to new vectors by ridge regression, tested on pairs left out.

    Half of the pairs fit it, a quarter chooses the ridge, and a quarter tests it.

    Args:
        erased: the deletion.
        pairs: of stored and new vectors, in random order.
        allowed: largest share of the variance of new vectors that the map may miss.

    Raises:
        UsageError: the share is none.
        DataError: too few pairs.
        InconclusiveError: the map misses more.
    """
    receipt = receipt_of(erased)
    if not 0 < allowed < 1:
        raise UsageError(f"--fit-map {allowed}: use a share between 0 and 1, for example 0.01.")
    if len(pairs) < _FEWEST:
        raise DataError(f"--fit-map needs {_FEWEST} samples at least, and has {len(pairs)}.")
    half, most = len(pairs) // 2, 3 * len(pairs) // 4
    x, y = pairs.stored.double(), pairs.new.double()
    maps = [_ridge(x[:half], y[:half], share) for share in _RIDGES]
    eraser = min(maps, key=lambda one: _missed(one, x[half:most], y[half:most])).float()
    made = eraser(pairs.stored[most:].float())
    missed = _missed(eraser, pairs.stored[most:].float(), pairs.new[most:])
    recall = _recall(made, pairs.new[most:])
    held = {"fitted_on": most, "tested_on": len(made), "variance_missed": missed}
    held[f"recall_of_{_NEIGHBOURS}_neighbours"] = recall
    if missed > allowed:
        raise InconclusiveError(
            f"A map fitted to {most} samples misses {missed:.1%} of the variance of new vectors on"
            f" {len(made)} others ({allowed:.1%} allowed), and finds {recall:.1%} of their"
            f" {_NEIGHBOURS} neighbours. Embed the gallery again (--list-ids), give more samples"
            f" (--check-samples), or allow it: --fit-map {missed * 1.05:.3f}."
        )
    return Map(eraser, len(pairs.new.T), receipt, {"fit": held})


def _ridge(x: Tensor, y: Tensor, share: float) -> LinearMap:
    """The affine map `x -> y` `[n, d]` of least squares, with a penalty on its size."""
    mean, target = x.mean(0), y.mean(0)
    gram = (x - mean).mT @ (x - mean)
    penalty = share * gram.diagonal().mean().clamp_min(1e-12)
    eye = torch.eye(len(gram), dtype=gram.dtype)
    matrix = torch.linalg.solve(gram + penalty * eye, (x - mean).mT @ (y - target)).mT
    return LinearMap(matrix, offset=target - matrix @ mean)


def _missed(eraser: LinearMap, x: Tensor, y: Tensor) -> float:
    """Share of the variance of `y` `[n, d]` that the map of `x` misses."""
    with torch.no_grad():
        rest = (eraser(x) - y).double().square().sum()
    return float(rest / (y - y.mean(0)).double().square().sum().clamp_min(1e-12))


def _recall(made: Tensor, new: Tensor) -> float:
    """Of the ten nearest new vectors of each `[n, d]`, the share that a search of `made` finds."""
    k = min(_NEIGHBOURS, len(new) - 1)
    right, found = (_nearest(new, among, k) for among in (new, made))
    return float((found[:, :, None] == right[:, None, :]).any(1).double().mean())


def _nearest(asked: Tensor, among: Tensor, k: int) -> Tensor:
    """Rows of the k nearest of `among` for each of `asked` `[n, k]`, its own row left out."""
    distances = torch.cdist(asked, among)
    return distances.fill_diagonal_(torch.inf).topk(k, largest=False).indices
