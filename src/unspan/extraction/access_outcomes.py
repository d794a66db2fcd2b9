"""What each access path gives, and whether it still sees the features as they were.

Nothing is assumed: a path counts as erased when its output equals the eraser applied to what it
gave before, and as original when it did not change.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unspan.erasers import Affine, Eraser, Layout, is_mapped
from unspan.extraction import FeatureLayer, forward, logits_of, shown, tensors_in
from unspan.extraction.access_paths import access_paths


def _handed_out(model: nn.Module, inputs: Any) -> dict[str, Tensor]:
    """Tensors that the model returns with its scores, by where they stand in the output."""
    output = forward(model, inputs)
    scores = logits_of(output)
    return {
        shown(path): tensor
        for path, tensor in tensors_in(output)
        if path and tensor is not scores and tensor.ndim >= 2
    }


def outcomes(model: nn.Module, feature_layer: FeatureLayer, inputs: Any) -> dict[str, Tensor]:
    """The tensor that each access path gives; those that fail on this model are left out."""
    given = {}
    for name, path in access_paths(model, feature_layer).items():
        try:
            value = path.take(model, feature_layer, inputs)
        except Exception:  # what a model does not support is no way to its features
            continue
        if isinstance(value, Tensor):
            given[name] = value.detach().clone()
    try:
        returned = _handed_out(model, inputs)
    except Exception:  # as above
        returned = {}
    return given | {name: value.detach().clone() for name, value in returned.items()}


def compare(
    before: dict[str, Tensor], after: dict[str, Tensor], eraser: Eraser, dim: int
) -> dict[str, str]:
    """What each access path sees now: `erased`, `original`, `changed`, or `not checked: why`.

    An `original` path still sees the features as they were.

    Args:
        before: what the paths gave, as `outcomes` says it.
        after: the same of the erased model.
        eraser: that was placed.
        dim: d.
    """
    verdict = {}
    for name, old in before.items():
        try:
            verdict[name] = _seen(old, after.get(name), eraser, dim)
        except Exception as error:  # a table that only describes must not end a finished erasure
            verdict[name] = f"not checked: {type(error).__name__}: {str(error)[:80]}"
    return verdict


def _seen(old: Tensor, new: Tensor | None, eraser: Eraser, dim: int) -> str:
    if new is None or new.shape != old.shape:
        return "changed"
    if torch.equal(new, old):
        return "original"
    layouts = [one for one in _fits(old, dim) if one != "channels" or isinstance(eraser, Affine)]
    tolerance = 1e-4 if old.dtype in (torch.float32, torch.float64) else 3e-2
    mapped = any(is_mapped(eraser, layout, old, new, tolerance) for layout in layouts)
    return "erased" if mapped else "changed"


def _fits(value: Tensor, dim: int) -> list[Layout]:
    fits: list[Layout] = []
    if value.shape[-1] == dim:
        fits.append("last")
    if value.ndim > 2 and value.shape[1] == dim:
        fits.append("channels")
    if value.ndim > 2 and value.shape[1:].numel() == dim:
        fits.append("flat")
    return fits
