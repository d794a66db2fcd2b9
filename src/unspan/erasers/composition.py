"""Erasers of several requests in order, where an eraser is placed, and how it is stored."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from unspan.erasers import linalg
from unspan.erasers.centring import UnitCentring
from unspan.erasers.feature_map import Layout
from unspan.erasers.gated import LogitMarginEraser
from unspan.erasers.linear import LinearMap, Projection
from unspan.erasers.redrawer import Redrawer
from unspan.erasers.resampler import Resampler
from unspan.errors import ModelError


class Chain(nn.Sequential):
    """Erasers of several requests in order, at least one of them not affine."""

    def map_stored(self, z: Tensor) -> Tensor:
        """The mapped features of stored vectors `[n, d]`."""
        for part in parts_of(self):
            z = part.map_stored(z)
        return z


Affine = Projection | LinearMap
Eraser = Projection | LinearMap | Resampler | Redrawer | LogitMarginEraser | UnitCentring | Chain
_KINDS = {
    "projection": Projection,
    "map": LinearMap,
    "resampler": Resampler,
    "redrawer": Redrawer,
    "logit-margin": LogitMarginEraser,
    "centring": UnitCentring,
}
_TRIES = 32  # perturbed copies that `is_mapped` asks
_LAST_DIGITS = 8  # size of the perturbation, in units of the last digit


def compose(first: Eraser | None, then: Eraser) -> Eraser:
    """One eraser for two requests in order.

    Two projections give the projection of both spans, affine maps their product, and all others a
    `Chain`.
    """
    if first is None:
        return then
    if isinstance(first, Projection) and isinstance(then, Projection):
        return Projection(linalg.union([first.basis, then.basis]))
    if isinstance(first, Affine) and isinstance(then, Affine):
        return _product(first, then)
    return Chain(*parts_of(first), *parts_of(then))


def _product(first: Affine, then: Affine) -> LinearMap:
    matrix = then.matrix().double()
    offset = _offset(then)
    before = _offset(first)
    if before is not None:
        carried = matrix @ before
        offset = carried if offset is None else carried + offset
    return LinearMap(matrix @ first.matrix().double(), offset=offset)


def _offset(eraser: Affine) -> Tensor | None:
    if isinstance(eraser, Projection) or eraser.offset is None:
        return None
    return eraser.offset.double()


def parts_of(eraser: Eraser) -> list[Eraser]:
    """The erasers of a chain in order, or the one eraser."""
    return [cast("Eraser", part) for part in eraser] if isinstance(eraser, Chain) else [eraser]


def is_mapped(eraser: Eraser, layout: Layout, old: Tensor, new: Tensor, tolerance: float) -> bool:
    """Whether `new` is what the eraser makes of `old`, as far as rounding lets one tell.

    An eraser that decides for every sample has jumps. Two passes of a model differ in the last
    digits, and a sample next to a jump then lands on the other side. Such a sample counts as mapped
    where the eraser gives `new` for features that differ from `old` by a few last digits.

    Args:
        eraser: any.
        layout: of the features.
        old: features before, in the given layout.
        new: features after, of the same shape.
        tolerance: of differences, as a share of the largest value.
    """
    mapping = placed(eraser, layout, old)
    allowed = tolerance * old.abs().max().clamp_min(1e-12)

    def wrong(features: Tensor) -> Tensor:
        far = (mapping(features) - new).abs() > allowed
        return far.any(-1) if layout == "last" else far.flatten(1).any(1)

    left = wrong(old)
    if isinstance(eraser, Affine) or not left.any():
        return not bool(left.any())
    generator = torch.Generator().manual_seed(0)
    step = min(_LAST_DIGITS * torch.finfo(old.dtype).eps, tolerance / 5) * old.abs().amax()
    for _ in range(_TRIES):
        noise = torch.randn(old.shape, generator=generator).to(old)
        left &= wrong(old + step * noise)
    return not bool(left.any())


def placed(eraser: Eraser, layout: Layout, like: Tensor) -> Eraser:
    """A copy in the layout, on the device and in the dtype of the features it will meet.

    The dtype is that of `like` or float32, whichever is wider.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    made = copy.deepcopy(eraser).to(like.device, dtype)
    for part in made if isinstance(made, Chain) else [made]:
        setattr(part, "layout", layout)  # noqa: B010
    return made


def kinds() -> list[str]:
    """Names of the classes that a method may return; a new one is entered in `_KINDS`."""
    return [kind.__name__ for kind in _KINDS.values()]


def kind_of(eraser: Eraser) -> str:
    """The kind of an eraser, as receipts name it; a chain names its parts, joined by `+`."""
    if isinstance(eraser, Chain):
        return "+".join(kind_of(part) for part in parts_of(eraser))
    return next(name for name, kind in _KINDS.items() if isinstance(eraser, kind))


def from_buffers(kind: str, buffers: Mapping[str, Tensor]) -> Eraser:
    """An eraser from its kind and its buffers by name, as `named_buffers` gives them.

    Raises:
        ModelError: a buffer is missing or strange, or the kind is not known.
    """
    kinds = kind.split("+")
    if len(kinds) > 1:
        return Chain(*(from_buffers(one, _of_part(i, buffers)) for i, one in enumerate(kinds)))
    try:
        if kind == "map":
            return LinearMap(buffers["map"], offset=buffers.get("offset"))
        return _KINDS[kind](**buffers)
    except (KeyError, TypeError) as error:
        raise ModelError(
            f"The stored eraser ({kind}) is not complete: {error}. Erase again from the original"
            " model and write the folder anew."
        ) from error


def _of_part(number: int, buffers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The buffers of one part of a chain, by their names in that part."""
    start = f"{number}."
    return {name[len(start) :]: one for name, one in buffers.items() if name.startswith(start)}
