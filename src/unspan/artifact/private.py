"""The private folder of an erased model, read and checked against the weights it belongs to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from unspan.artifact import receipt as receipts
from unspan.artifact.layout import (
    KEY,
    STATE,
    WEIGHTS,
    private_digest,
    private_folder,
    private_hashes,
)
from unspan.artifact.publish import belongs, left_private
from unspan.erasers import Eraser, LinearMap, Projection, from_buffers
from unspan.errors import ModelError
from unspan.extraction import CHILD, FeatureLayer, head_parameters

# share of the head that may lie in removed directions, by what its dtype rounds to
ROUNDING = {
    torch.float64: 1e-5,
    torch.float32: 1e-5,
    torch.float16: 1e-3,
    torch.bfloat16: 1e-2,
}


@dataclass(frozen=True)
class Private:
    """What the private folder of an erased model holds, as far as it can be believed.

    Attributes:
        eraser: float64 eraser of all requests, None where there is none.
        key: secret of the request commitment.
        undo: what weights lost: rows of an affine layer `[k, in + 1]`, or the head before it was
            folded `[C, d + 1]`.
        problem: why nothing of it is used, None when all is well.
        there: the folder exists.
    """

    eraser: Eraser | None = None
    key: bytes | None = field(default=None, repr=False)
    undo: Tensor | None = None
    problem: str | None = None
    there: bool = True


def read_private(
    path: Path, placement: Mapping[str, Any], inner: nn.Module, feature_layer: FeatureLayer
) -> Private:
    """The private state of a folder, checked against the weights that are loaded.

    Args:
        path: the public folder.
        placement: of the receipt: the kind of the eraser, and where it is.
        inner: the model with the public weights.
        feature_layer: where its features and head are.
    """
    secret = private_folder(path)
    found = [one for one in (secret, *left_private(path)) if belongs(one, path)]
    if not found:
        if not os.path.lexists(secret):
            return Private(there=False)
        return Private(
            problem=f"{secret} cannot be read, or belongs to other weights than {path} (an"
            " interrupted write, or a copy)"
        )
    folder = found[0]
    kind = placement["eraser"]
    try:
        state = load_file(folder / STATE)
        key = (folder / KEY).read_bytes()
        if private_hashes(folder).get("digest") != private_digest(state, key):
            return Private(problem=f"{folder} was changed after it was written, or is damaged")
        undo = state.pop("undo", None)
        eraser = from_buffers(kind, state) if kind is not None and state else None
    except (OSError, SafetensorError, ModelError, ValueError) as error:
        return Private(problem=f"{folder} cannot be read ({error})")
    if len(key) < receipts.SHORTEST_KEY:
        return Private(problem=f"the key in {folder} has {len(key)} bytes")
    if eraser is not None and not _agrees(eraser, undo, placement["kind"], inner, feature_layer):
        return Private(problem=f"{folder} does not describe the eraser that is in {path / WEIGHTS}")
    return Private(eraser, key, undo)


def _agrees(
    eraser: Eraser,
    undo: Tensor | None,
    placement: str,
    inner: nn.Module,
    feature_layer: FeatureLayer,
) -> bool:
    """The stored eraser is whole, and the weights are mapped by it."""
    if not all(bool(one.isfinite().all()) for one in eraser.buffers()):
        return False
    if isinstance(eraser, Projection) and not _orthonormal(eraser.basis):
        return False
    if placement == "hook":
        return _same_buffers(eraser, inner)
    if placement == "weights":
        assert isinstance(eraser, Projection)
        return _took(eraser.basis, undo, inner.get_submodule(feature_layer.site))
    head = head_parameters(inner, feature_layer)
    if head is None:
        return True
    dtype = inner.get_parameter(f"{feature_layer.head}.weight").dtype
    if isinstance(eraser, Projection):
        return _is_nothing(head[0] @ eraser.basis, head[0], dtype)
    return isinstance(eraser, LinearMap) and _took_map(head[0], eraser.map, undo, dtype)


def _orthonormal(basis: Tensor) -> bool:
    eye = torch.eye(basis.shape[1], dtype=torch.float64)
    return torch.allclose(basis.double().mT @ basis.double(), eye, atol=1e-6)


def _same_buffers(eraser: Eraser, inner: nn.Module) -> bool:
    """The eraser in the model has the stored buffers, as far as float32 tells."""
    carried = [one for name, one in inner.named_modules() if name.rpartition(".")[2] == CHILD]
    ours = dict(eraser.named_buffers())
    theirs = dict(carried[0].named_buffers())
    return ours.keys() == theirs.keys() and all(
        ours[name].shape == theirs[name].shape
        and torch.equal(ours[name].float(), theirs[name].float().cpu())
        for name in ours
    )


def _took(basis: Tensor, undo: Tensor | None, site: nn.Module) -> bool:
    """An affine layer lost the span of `basis`, and `undo` has the rows that it lost."""
    stored = site.get_parameter("weight").detach()
    weight = stored.double().cpu().flatten(1)
    if undo is None or undo.shape != (basis.shape[1], weight.shape[1] + 1):
        return False
    whole = bool(undo.isfinite().all())
    return whole and _is_nothing(basis.mT @ weight, weight, stored.dtype)


def _took_map(head: Tensor, matrix: Tensor, undo: Tensor | None, dtype: torch.dtype) -> bool:
    """The weight of a head `[C, d]` is the one of `undo`, mapped by a matrix `[d, d]`."""
    if undo is None or undo.shape != (len(head), head.shape[1] + 1):
        return False
    whole = bool(undo.isfinite().all())
    return whole and _is_nothing(head - undo[:, :-1] @ matrix.double(), head, dtype)


def _is_nothing(left: Tensor, of: Tensor, dtype: torch.dtype) -> bool:
    """What is left of a weight is no more than its dtype rounds to."""
    share = torch.linalg.matrix_norm(left.double()) / torch.linalg.matrix_norm(of.double())
    return float(share) <= ROUNDING[dtype]
