"""Inputs and weights in the memory layout in which a forward pass is fastest.

On a CPU, networks of convolutions run faster with channels last: they touch less fresh memory, and
nothing is copied between layers (`benchmarks/passes.py` measures it). Values stay the same to
rounding, and the model is as it was after every call.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from unspan.data.inputs import first_rows, place
from unspan.extraction.reading import forward, input_like, relative_difference

_SAME = 1e-5  # of the largest entry; a model whose maps differ more keeps its layout
_FEWEST = 2  # convolutions: the one that cuts an image into patches gains nothing
_FITS: WeakKeyDictionary[nn.Module, tuple[tuple[int, ...], bool]] = WeakKeyDictionary()


@contextmanager
def arranged(model: nn.Module, inputs: Any) -> Iterator[Any]:
    """Inputs of one forward pass, on the device and in the dtype and layout of the model.

    They have channels last where the model is a network of convolutions that gives the same maps
    that way.

    The weights of convolutions have channels last inside the `with` block too; afterwards they are
    the same tensors as before. A rule decides, no clock: the same model and data give the same
    bits. Models in training mode and on other devices are left alone.

    Args:
        model: unwrapped.
        inputs: tensor, tuple or dict as the model takes it.
    """
    inputs = place(inputs, input_like(model, inputs))
    if not _fits(model, inputs):
        yield inputs
        return
    with _weights(model):
        yield inputs.contiguous(memory_format=torch.channels_last)


Layout = tuple[tuple[int, ...], bool]
"""A shape of samples, and whether channels last serve a model for it."""


def layout_of(model: nn.Module) -> Layout | None:
    """What was settled for a model; None before its first pass."""
    return _FITS.get(model)


def settle_layout(model: nn.Module, layout: Layout | None) -> None:
    """Keep to what another process settled for the same model."""
    if layout is not None:
        _FITS[model] = layout


def _convolutions(model: nn.Module) -> list[nn.Parameter]:
    """Weights of two-dimensional convolutions that are parameters of their own, on the CPU."""
    found = (
        module._parameters.get("weight")
        for module in model.modules()
        if isinstance(module, nn.Conv2d)
    )
    return [one for one in found if one is not None and one.device.type == "cpu"]


def _fits(model: nn.Module, inputs: Any) -> bool:
    """Whether channels last serve the model; tried once for a model and a shape of samples."""
    if not isinstance(inputs, Tensor) or inputs.ndim != 4 or inputs.device.type != "cpu":
        return False
    if model.training or not inputs.is_floating_point():
        return False
    shape = tuple(inputs.shape[1:])
    known = _FITS.get(model)
    if known is not None and known[0] == shape:
        return known[1]
    fits = len(_convolutions(model)) >= _FEWEST and _agrees(model, first_rows(inputs, 2))
    _FITS[model] = shape, fits
    return fits


def _agrees(model: nn.Module, inputs: Tensor) -> bool:
    """A few samples go through in both layouts, and every convolution gives the same.

    A model that cannot run with channels last (`view` across channels) fails. What the model makes
    of the same maps is not compared: an eraser that decides for a sample may part on rounding.
    """
    with suppress(Exception), torch.no_grad(), torch.random.fork_rng(devices=[]):
        usual = _maps(model, inputs)
        with _weights(model):
            other = _maps(model, inputs.contiguous(memory_format=torch.channels_last))
        return len(usual) == len(other) and all(
            relative_difference(one, two) <= _SAME for one, two in zip(usual, other, strict=True)
        )
    return False


def _maps(model: nn.Module, inputs: Tensor) -> list[Tensor]:
    """What each convolution gives, in the order of the calls."""
    found: list[Tensor] = []
    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                hook = module.register_forward_hook(lambda _m, _a, out: found.append(out))
                stack.callback(hook.remove)
        forward(model, inputs)
    return found


@contextmanager
def _weights(model: nn.Module) -> Iterator[None]:
    """Weights of convolutions with channels last; the tensors themselves are put back."""
    held = [(one, one.data) for one in _convolutions(model)]
    try:
        for one, usual in held:
            one.data = usual.contiguous(memory_format=torch.channels_last)
        yield
    finally:
        for one, usual in held:
            one.data = usual
