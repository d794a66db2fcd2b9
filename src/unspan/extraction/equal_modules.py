"""Modules that two models have in common, run once for both.

An eraser is often all that differs between two models: what comes before it then gives the same
tensors to the last bit, and needs no second computation. Every module that differs runs, and so
does everything behind it whose inputs differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

_MOST = 2**30  # bytes of outputs held for one batch; beyond it both models compute
_OF_TORCH = frozenset(vars(nn.Module()))  # attributes that every module has


@dataclass
class _Call:
    """A call of a module: what it was given and gave back, and their versions at that time."""

    inputs: tuple[Tensor, ...]
    output: Tensor
    versions: tuple[int, ...]

    def untouched(self) -> bool:
        """No tensor was written to since."""
        return _versions(*self.inputs, self.output) == self.versions


@dataclass
class _Calls:
    """Calls of the first model's modules on one batch."""

    made: dict[str, list[_Call]] = field(default_factory=dict)
    held: int = 0
    inside: bool = False


class EqualModules:
    """Modules of several models that equal those of the first one.

    Args:
        models: unwrapped, in evaluation mode whenever they run.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self._first = models[0]
        self._others = {}
        for other in models[1:]:
            names = equal_modules(self._first, other)
            if names:
                self._others[other] = names

    @contextmanager
    def one_batch(self) -> Iterator[None]:
        """Within, the first model and then the others read the same batch.

        A module of another model that equals the first one's gives back what that one gave, where
        its inputs are equal to the bit.
        """
        calls = _Calls()
        with ExitStack() as stack:
            for name in set().union(*self._others.values()):
                module = self._first.get_submodule(name)
                _wrap(stack, module, partial(_noted, calls, name, module, module.forward))
            for other, names in self._others.items():
                for name in names:
                    module = other.get_submodule(name)
                    _wrap(stack, module, partial(_recalled, calls, name, module, module.forward))
            yield


def equal_modules(first: nn.Module, second: nn.Module) -> list[str]:
    """Names of the modules that compute the same in both models; none where they share no weights.

    Equal means: one class, equal parameters, buffers and other attributes to the bit, and equal
    modules inside.
    """
    theirs = dict(second.named_modules())
    names = []
    for name, module in first.named_modules():
        if name in theirs and module is not theirs[name] and _is_equal(module, theirs[name]):
            names.append(name)
    weights = any(True for name in names for _ in first.get_submodule(name).parameters())
    return names if weights else []


def _is_equal(one: nn.Module, other: nn.Module) -> bool:
    if type(one) is not type(other) or list(one._modules) != list(other._modules):
        return False
    if isinstance(one, torch.jit.ScriptModule):  # its forward cannot be replaced
        return False
    mine, theirs = vars(one), vars(other)
    if mine.keys() != theirs.keys() or "forward" in mine:
        return False
    stored = [(one._parameters, other._parameters), (one._buffers, other._buffers)]
    if not all(_is_same(a, b) for a, b in stored):
        return False
    if not all(_is_same(mine[key], theirs[key]) for key in mine.keys() - _OF_TORCH):
        return False
    for child, twin in zip(one._modules.values(), other._modules.values(), strict=True):
        if (child is None) != (twin is None):
            return False
        if child is not None and twin is not None and not _is_equal(child, twin):
            return False
    return True


def _is_same(a: Any, b: Any) -> bool:
    """Whether two attributes are the same to the bit; False where that cannot be told."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor):
        form = (a.dtype, a.device, a.shape, a.stride())
        alike = form == (b.dtype, b.device, b.shape, b.stride())
        return alike and torch.equal(a.detach(), b.detach())
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_is_same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(_is_same(x, y) for x, y in zip(a, b, strict=True))
    return isinstance(a, (bool, int, float, str)) and a == b


def _wrap(stack: ExitStack, module: nn.Module, forward: Any) -> None:
    module.__dict__["forward"] = forward
    stack.callback(module.__dict__.pop, "forward")


def _noted(
    calls: _Calls, name: str, module: nn.Module, forward: Any, *args: Any, **kwargs: Any
) -> Any:
    """Run a module of the first model, and note what it gave."""
    plain = not kwargs and all(isinstance(one, Tensor) for one in args)
    if calls.inside or not plain or _is_watched(module):
        return forward(*args, **kwargs)
    before = _versions(*args)
    calls.inside = True  # what is inside this module needs no notes of its own
    try:
        output = forward(*args)
    finally:
        calls.inside = False
    if isinstance(output, Tensor) and calls.held < _MOST and _versions(*args) == before:
        calls.held += output.nbytes
        call = _Call(args, output, _versions(*args, output))
        calls.made.setdefault(name, []).append(call)
    return output


def _recalled(
    calls: _Calls, name: str, module: nn.Module, forward: Any, *args: Any, **kwargs: Any
) -> Any:
    """What the first model's module gave for equal inputs, else what this one gives."""
    if not kwargs and not _is_watched(module):
        for call in calls.made.get(name, []):
            if call.untouched() and _are_equal(call.inputs, args):
                return call.output
    return forward(*args, **kwargs)


def _is_watched(module: nn.Module) -> bool:
    """Whether somebody reads or changes what a module inside this one is given or gives."""
    for inside in module.modules():
        if inside is not module and (inside._forward_hooks or inside._forward_pre_hooks):
            return True
    return False


def _are_equal(some: tuple[Any, ...], others: tuple[Any, ...]) -> bool:
    return len(some) == len(others) and all(map(_is_same, some, others))


def _versions(*tensors: Tensor) -> tuple[int, ...]:
    return tuple(one._version for one in tensors)
