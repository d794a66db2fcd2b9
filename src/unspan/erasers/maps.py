"""Erasers: maps on penultimate features, tensors in and tensors out.

An eraser is an `nn.Module` so that it moves, casts, copies and saves with the model that carries
it. `layout` says which axis of the tensor it meets holds the d features:

- `last`: `[..., d]` (pooled features, tokens)
- `channels`: `[n, d, ...]` (a feature map; for affine maps only, exact because average pooling
  commutes with them)
- `flat`: `[n, ...]` with d numbers per sample

The affine ones (`Affine`) fold into weights and commute with pooling. The others decide for each
sample by itself, so they need the features as one vector a sample.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from unspan.erasers import linalg
from unspan.errors import ModelError

Layout = Literal["last", "channels", "flat"]


def _compile_with_hooks() -> None:
    """Make `torch.compile` look at hooks: by default a graph compiled for the original model is run
    for a copy that differs by a hook only, and an eraser would be skipped. Graphs compiled before
    are dropped, once.

    Called when an eraser is made, copied or unpickled: what compiles is slow to import, and no
    model carries an eraser before.
    """
    import torch._dynamo.config as config

    if config.skip_nnmodule_hook_guards:
        config.skip_nnmodule_hook_guards = False
        torch.compiler.reset()


class FeatureMap(nn.Module):
    """Base of the maps: takes any floating dtype and returns it, and computes in float32 or wider.

    Buffers never become narrower than float32, whatever the model around is cast to: half precision
    has too small a range for covariances, and too few digits for directions. For the same reason
    `torch.autocast` does not reach inside.
    """

    layout: Layout

    def __init__(self) -> None:
        super().__init__()
        _compile_with_hooks()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        _compile_with_hooks()

    def forward(self, z: Tensor) -> Tensor:
        """The mapped features, with the shape and dtype of `z`."""
        own = next(self.buffers())  # `z` is a symbol while torch.fx traces the model
        wide = z.to(own.dtype)
        if not torch.is_autocast_enabled(own.device.type):
            return self.map_features(wide).to(z.dtype)
        with torch.autocast(own.device.type, enabled=False):
            return self.map_features(wide).to(z.dtype)

    def map_features(self, z: Tensor) -> Tensor:
        """The mapped features; `z` has the dtype of the buffers."""
        raise NotImplementedError

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        def wide(tensor: Tensor) -> Tensor:
            cast = fn(tensor)
            if not cast.is_floating_point() or cast.element_size() >= 4:
                return cast
            return tensor.to(cast.device, torch.promote_types(tensor.dtype, torch.float32))

        return super()._apply(wide, recurse)


class Projection(FeatureMap):
    """`z -> z - U Uᵀ z`: the span of U is removed, everything orthogonal to it stays.

    Attributes:
        basis: `[d, k]` orthonormal columns. ESC's `U_P U_Pᵀ` is `I - U U ᵀ`, exact also when n < d.

    >>> erase = Projection(torch.tensor([[1.0], [0.0]]))
    >>> erase(torch.tensor([[3.0, 4.0]])).tolist()
    [[0.0, 4.0]]
    """

    idempotent = True
    basis: Tensor

    def __init__(self, basis: Tensor, layout: Layout = "last"):
        super().__init__()
        self.layout = layout
        self.register_buffer("basis", basis)

    def map_features(self, z: Tensor) -> Tensor:
        if self.layout == "channels":
            return z - (self.basis @ (self.basis.mT @ z.flatten(2))).view_as(z)
        if self.layout == "flat":
            return z - ((z.flatten(1) @ self.basis) @ self.basis.mT).view_as(z)
        return z - (z @ self.basis) @ self.basis.mT

    def matrix(self) -> Tensor:
        """The map as `[d, d]`, acting on column vectors."""
        eye = torch.eye(len(self.basis), dtype=self.basis.dtype, device=self.basis.device)
        return eye - self.basis @ self.basis.mT


class LinearMap(FeatureMap):
    """`z -> A z + b` for any `[d, d]` matrix A: ESC-T's masked map (b absent), LEACE, or a product
    of erasers.

    In the `channels` layout b is exact where what follows is a mean over positions, as with average
    pooling.
    """

    idempotent = False
    map: Tensor
    offset: Tensor | None

    def __init__(self, matrix: Tensor, layout: Layout = "last", offset: Tensor | None = None):
        super().__init__()
        self.layout = layout
        self.register_buffer("map", matrix)
        self.register_buffer("offset", offset)

    def map_features(self, z: Tensor) -> Tensor:
        if self.layout == "channels":
            flat = self.map @ z.flatten(2)
            return (flat if self.offset is None else flat + self.offset[:, None]).view_as(z)
        flat = z.flatten(1) if self.layout == "flat" else z
        out = flat @ self.map.mT
        return (out if self.offset is None else out + self.offset).view_as(z)

    def matrix(self) -> Tensor:
        """The map as `[d, d]`, acting on column vectors."""
        return self.map


class Gate(FeatureMap):
    """What tells a sample of the request from the others, and where such a sample goes.

    Every sample takes the same steps, so that the time of an answer does not tell who is gated.
    With `x = [z, 1]`: gated where `max(forgotten x) > max(others x)`; the place it goes to is
    `argmax(choice x)`.

    Attributes:
        forgotten: `[F, d + 1]` affine scores of what is forgotten (rows of the head, or a fitted
            discriminant).
        others: `[R, d + 1]` affine scores of the rest.
        choice: `[K, d + 1]` affine scores of the K places.
    """

    forgotten: Tensor
    others: Tensor
    choice: Tensor

    def __init__(self, forgotten: Tensor, others: Tensor, choice: Tensor):
        super().__init__()
        self.layout = "last"
        self.register_buffer("forgotten", forgotten)
        self.register_buffer("others", others)
        self.register_buffer("choice", choice)

    def map_features(self, z: Tensor) -> Tensor:
        if self.layout == "channels":
            raise ModelError(
                "This eraser needs one vector a sample and met a feature map. Choose another place"
                " with feature_layer='NAME:out'."
            )
        rows = z.flatten(1) if self.layout == "flat" else z.reshape(-1, z.shape[-1])
        x = with_one(rows)
        gated = linear(x, self.forgotten).amax(1) > linear(x, self.others).amax(1)
        return self.mapped(rows, x, gated, linear(x, self.choice).argmax(1)).view_as(z)

    def mapped(self, z: Tensor, x: Tensor, gated: Tensor, place: Tensor) -> Tensor:
        """Output `[n, d]` of features `z` `[n, d]` and `x = [z, 1]`, given who is gated `[n]` and
        the place of each `[n]`.
        """
        raise NotImplementedError


class Resampler(Gate):
    """Moves gated samples into the clouds of the other classes; all others pass unchanged.

    The books name a cell, the cell a draw, and in the place j of the sample `t = maps[j] (z +
    drawn[cell]) + offsets[j]`, in standard units; then every feature by a piecewise linear
    increasing map of its own, from `knots` to `levels[j]`; then `tidy[j]` gives the covariance of
    the place, with small values kept small (`bounded`).

    Attributes:
        books: `[3 M, d + 1]` affine scores; the largest of each third names one of M letters, three
            letters a cell.
        drawn: `[T, d]`; the cells share T draws.
        maps: `[K, d, d]`, or `[1, d, d]` shared by all places.
        offsets: `[K, d]`.
        knots: `[d, B]` ascending, in standard units.
        levels: `[K, d, B]` ascending.
        tidy: `[K, d, d]` or `[1, d, d]`.
        shifts: `[K, d]`, added after `tidy`.
        length: `[]`, the norm that outputs get, for embeddings of one length; None leaves it free.
    """

    books: Tensor
    drawn: Tensor
    maps: Tensor
    offsets: Tensor
    knots: Tensor
    levels: Tensor
    tidy: Tensor
    shifts: Tensor
    length: Tensor | None

    def __init__(
        self,
        forgotten: Tensor,
        others: Tensor,
        choice: Tensor,
        books: Tensor,
        drawn: Tensor,
        maps: Tensor,
        offsets: Tensor,
        knots: Tensor,
        levels: Tensor,
        tidy: Tensor,
        shifts: Tensor,
        length: Tensor | None = None,
    ):
        super().__init__(forgotten, others, choice)
        held = {
            "books": books,
            "drawn": drawn,
            "maps": maps,
            "offsets": offsets,
            "knots": knots,
            "levels": levels,
            "tidy": tidy,
            "shifts": shifts,
            "length": length,
        }
        for name, tensor in held.items():
            self.register_buffer(name, tensor)

    def mapped(self, z: Tensor, x: Tensor, gated: Tensor, place: Tensor) -> Tensor:
        levels = self.levels[place]
        t = affine(
            z + self.drawn[cell(linear(x, self.books), len(self.drawn))],
            self.maps,
            self.offsets,
            place,
        )
        low, high, u = levels[:, :, 0], levels[:, :, -1], interpolated(t, self.knots, levels)
        moved = bounded(u, affine(u, self.tidy, self.shifts, place) - u, low, high)
        if self.length is not None:
            moved = moved * (self.length / moved.norm(dim=1, keepdim=True).clamp_min(1e-12))
        return torch.where(gated[:, None], moved, z)


def bounded(u: Tensor, change: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """`u + change`, by no more than the distance of u to `low`, and from there and from `high` on
    with a tenth of the slope.

    Small values stay small and zeros stay zeros. No other value is taken twice: equal answers to
    inputs that differ a little would be a trace.
    """
    gap = (u - low).clamp_min(0)
    moved = u + torch.clamp(change, torch.where(low == 0, -gap, -0.9 * gap), gap)
    moved = torch.lerp(torch.clamp(moved, low, high), moved, 0.1)
    return torch.where(low >= 0, moved.clamp_min(0), moved)


def cell(scores: Tensor, count: int) -> Tensor:
    """Which of `count` draws each sample gets: three letters, each the largest of a third of its
    scores `[n, 3 M]` in the books.
    """
    first, second, third = scores.unflatten(1, (3, -1)).argmax(2).unbind(1)
    return (first + 67 * second + 2053 * third) % count


def affine(z: Tensor, maps: Tensor, offsets: Tensor, place: Tensor) -> Tensor:
    """`maps[j] z + offsets[j]` `[n, d]` for the place j of every row of `z` `[n, d]`; `maps` `[1,
    d, d]` are shared.
    """
    if len(maps) == 1:
        return torch.addmm(offsets[place], z, maps[0].mT)
    if (
        z.device.type == "cpu" and not torch.compiler.is_compiling() and len(z) > 0
    ):  # reads each map in place: a copy of n of them takes three times as long
        return torch.stack(
            [torch.addmv(offsets[j], maps[j], row) for j, row in zip(place.tolist(), z)]
        )
    return torch.baddbmm(offsets[place][:, :, None], maps[place], z[:, :, None])[:, :, 0]


def interpolated(t: Tensor, knots: Tensor, levels: Tensor) -> Tensor:
    """Piecewise linear maps of `t` `[n, d]`, feature by feature, continued beyond the ends.

    Args:
        t: `[n, d]`.
        knots: `[d, B]` ascending.
        levels: `[n, d, B]`, values at the knots.
    """
    part = (t[:, :, None] >= knots[:, 1:-1]).sum(2, keepdim=True)
    around = torch.cat([part, part + 1], 2)
    start, end = knots.expand(t.shape[0], -1, -1).gather(2, around).unbind(2)
    low, high = levels.gather(2, around).unbind(2)
    return torch.lerp(low, high, (t - start) / (end - start).clamp_min(1e-6))


class Narrow(Gate):
    """Leaves of every sample the best of the other classes and the margin by which it wins: `z ->
    base + margin * decode[j]`.

    A gated sample gets its place for the class, and the margin with which the request won.

    Attributes:
        decode: `[R, d]`, features that the head reads as the class alone, a unit of margin each.
        base: `[d]`, features that the head reads as no class.
    """

    decode: Tensor
    base: Tensor

    def __init__(
        self, forgotten: Tensor, others: Tensor, choice: Tensor, decode: Tensor, base: Tensor
    ):
        super().__init__(forgotten, others, choice)
        self.register_buffer("decode", decode)
        self.register_buffer("base", base)

    def mapped(self, z: Tensor, x: Tensor, gated: Tensor, place: Tensor) -> Tensor:
        best, index = linear(x, self.others).topk(2, dim=1)
        margin = torch.where(
            gated, linear(x, self.forgotten).amax(1) - best[:, 0], best[:, 0] - best[:, 1]
        )
        return self.base + margin[:, None] * self.decode[torch.where(gated, place, index[:, 0])]


def score(rows: Tensor, z: Tensor) -> Tensor:
    """Affine scores `[n, K]` of features `[n, d]`; `rows` `[K, d + 1]` hold the offset last."""
    return linear(with_one(z), rows)


def head_rows(head: tuple[Tensor, Tensor]) -> Tensor:
    """Weight `[C, d]` and bias `[C]` of a head as `[C, d + 1]`."""
    return torch.cat([head[0], head[1][:, None]], 1)


def with_one(z: Tensor) -> Tensor:
    """`[z, 1]`."""
    return pad(z, (0, 1), value=1.0)


class Chain(nn.Sequential):
    """Erasers of several requests in order, at least one of them not affine."""


Affine = Projection | LinearMap
Eraser = Projection | LinearMap | Resampler | Narrow | Chain
_KINDS = {"projection": Projection, "map": LinearMap, "resampler": Resampler, "narrow": Narrow}


def compose(first: Eraser | None, then: Eraser) -> Eraser:
    """The eraser of two requests: the union of spans for projections, a product of affine maps,
    else both in order.
    """
    if first is None:
        return then
    if isinstance(first, Projection) and isinstance(then, Projection):
        return Projection(linalg.union([first.basis, then.basis]))
    if not (isinstance(first, Affine) and isinstance(then, Affine)):
        return Chain(
            *(first if isinstance(first, Chain) else [first]),
            *(then if isinstance(then, Chain) else [then]),
        )
    matrix, shifts = (
        then.matrix().double(),
        [one.offset if isinstance(one, LinearMap) else None for one in (first, then)],
    )
    parts = [] if shifts[0] is None else [matrix @ shifts[0].double()]
    parts += [] if shifts[1] is None else [shifts[1].double()]
    return LinearMap(
        matrix @ first.matrix().double(), offset=sum(parts[1:], parts[0]) if parts else None
    )


_JITTERS, _JITTER = 32, 8  # tries, and their size in units of the last digit


def is_mapped(eraser: Eraser, layout: Layout, old: Tensor, new: Tensor, tolerance: float) -> bool:
    """Whether `new` is what the eraser makes of `old`, as far as rounding lets one tell.

    A map that decides for every sample has jumps. Two passes of a model differ in the last digits,
    and a sample next to a jump then lands on the other side. Such a sample counts as mapped where
    the eraser gives `new` for features that differ from `old` by a few last digits.

    Args:
        old, new: features in the given layout, of one shape.
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
    step = min(_JITTER * torch.finfo(old.dtype).eps, tolerance / 5) * old.abs().amax()
    for _ in range(_JITTERS):
        noise = torch.randn(old.shape, generator=generator).to(old)
        left &= wrong(old + step * noise)
    return not bool(left.any())


def placed(eraser: Eraser, layout: Layout, like: Tensor) -> Eraser:
    """A copy in the layout and on the device of the features it will meet, in their dtype or
    float32, whichever is wider.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    made = copy.deepcopy(eraser).to(like.device, dtype)
    for part in made if isinstance(made, Chain) else [made]:
        setattr(part, "layout", layout)  # noqa: B010
    return made


def kind_of(eraser: Eraser) -> str:
    """The kind of an eraser, as receipts name it; a chain names its parts."""
    if isinstance(eraser, Chain):
        return "+".join(kind_of(cast("Eraser", part)) for part in eraser)
    return next(name for name, kind in _KINDS.items() if isinstance(eraser, kind))


def from_buffers(kind: str, buffers: Mapping[str, Tensor]) -> Eraser:
    """An eraser from its kind and its buffers by name, as `named_buffers` gives them.

    Raises:
        ModelError: a buffer is missing, or the kind is not known.
    """
    parts = kind.split("+")
    if len(parts) > 1:
        return Chain(
            *(
                from_buffers(
                    part,
                    {
                        name.partition(".")[2]: tensor
                        for name, tensor in buffers.items()
                        if name.startswith(f"{i}.")
                    },
                )
                for i, part in enumerate(parts)
            )
        )
    try:
        if kind == "projection":
            return Projection(buffers["basis"])
        if kind == "map":
            return LinearMap(buffers["map"], offset=buffers.get("offset"))
        return _KINDS[kind](**buffers)
    except (KeyError, TypeError) as error:
        raise ModelError(
            f"The stored eraser ({kind}) is not complete: {error}. Write the folder again."
        ) from error
