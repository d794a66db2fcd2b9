"""The base of all erasers: a map on penultimate features that travels with the model.

An eraser is an `nn.Module`, so that it moves, casts, copies and saves with the model that carries
it. `layout` says which axis of the tensor it meets holds the d features:

- `last`: `[..., d]` (pooled features, tokens)
- `channels`: `[n, d, ...]` (a feature map; for affine maps only, exact because average pooling
  commutes with them)
- `flat`: `[n, ...]` with d numbers a sample
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from unspan.errors import ModelError

Layout = Literal["last", "channels", "flat"]
_BUFFERS = ("Tensor", "Tensor | None")  # annotations, as they are written


def _compile_with_hooks() -> None:
    """Make `torch.compile` look at hooks, else a compiled model would skip its eraser.

    By default a graph compiled for the original model is also run for a copy that differs by a hook
    only. Graphs compiled before are dropped, once. Called when an eraser is copied or
    unpickled, because importing the compiler is slow, and placing an eraser in a model copies it.
    """
    import torch._dynamo.config as config

    if config.skip_nnmodule_hook_guards:
        config.skip_nnmodule_hook_guards = False
        torch.compiler.reset()


class FeatureMap(nn.Module, ABC):
    """Base of the erasers: takes and returns any floating dtype on any device.

    It computes in float32 or wider, on the device of its own buffers.

    Buffers stay float32 or wider, whatever the model around is cast to. Half precision has too
    small a range for covariances, and too few digits for directions. For the same reason
    `torch.autocast` does not reach inside.
    """

    layout: Layout

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        _compile_with_hooks()

    def forward(self, z: Tensor) -> Tensor:
        """The mapped features, with the shape, dtype and device of `z`."""
        own = next(self.buffers())
        # `z` is a symbol and no tensor while torch.fx traces the model
        if isinstance(z, Tensor) and z.device != own.device:
            return self(z.to(own.device)).to(z.device)
        wide = z.to(own.dtype)
        if not torch.is_autocast_enabled(own.device.type):
            return self.map_features(wide).to(z.dtype)
        with torch.autocast(own.device.type, enabled=False):
            return self.map_features(wide).to(z.dtype)

    @abstractmethod
    def map_features(self, z: Tensor) -> Tensor:
        """The mapped features; `z` has the dtype of the buffers."""

    def map_stored(self, z: Tensor) -> Tensor:
        """The mapped features of stored vectors `[n, d]`.

        Nobody waits for an answer here, so the time that it takes may tell which rows were moved.
        """
        return self(z)

    def map_some(self, z: Tensor, moved: Tensor) -> Tensor:
        """Features `z` `[n, d]` of which only the rows `moved` `[n]` are mapped."""
        if not moved.any():
            return z
        out = z.clone()
        out[moved] = self(z[moved])
        return out

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        def wide(tensor: Tensor) -> Tensor:
            cast = fn(tensor)
            if not cast.is_floating_point() or cast.element_size() >= 4:
                return cast
            return tensor.to(cast.device, torch.promote_types(tensor.dtype, torch.float32))

        return super()._apply(wide, recurse)


class VectorMap(FeatureMap):
    """Base of erasers that are not affine: they need the features of a sample as one vector.

    A class lists its buffers once, as annotations; they are the arguments of its constructor. One
    that is `Tensor | None` may be left out.
    """

    def __init__(self, **buffers: Tensor | None) -> None:
        super().__init__()
        self.layout = "last"
        kinds = self.buffer_kinds()
        strange = sorted(buffers.keys() - kinds.keys())
        missing = [name for name, kind in kinds.items() if kind == "Tensor" and name not in buffers]
        if strange or missing:
            raise TypeError(
                f"{type(self).__name__}: missing {', '.join(missing) or 'none'}, not known"
                f" {', '.join(strange) or 'none'}"
            )
        for name in kinds:
            self.register_buffer(name, buffers.get(name))

    @classmethod
    def buffer_kinds(cls) -> dict[str, str]:
        """Annotations of the buffers by name, those of the base classes first."""
        found: dict[str, str] = {}
        for part in reversed(cls.__mro__):
            kinds = inspect.get_annotations(part)
            found |= {name: kind for name, kind in kinds.items() if kind in _BUFFERS}
        return found

    def map_features(self, z: Tensor) -> Tensor:
        if self.layout == "channels":
            raise ModelError(
                "This eraser needs one vector a sample and met a feature map. Choose another"
                " feature layer with feature_layer='NAME:out'."
            )
        rows = z.flatten(1) if self.layout == "flat" else z.reshape(-1, z.shape[-1])
        return self.map_rows(rows).view_as(z)

    @abstractmethod
    def map_rows(self, z: Tensor) -> Tensor:
        """The mapped features `[n, d]` of features `z` `[n, d]`, one row a sample."""
