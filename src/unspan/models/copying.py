"""Copies of models, also of those that hold tensors made by a forward pass."""

from __future__ import annotations

import copy
import sys
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from unspan import dist
from unspan.errors import ModelError

_CONTAINERS = (list, tuple, set, frozenset)
_SHARED = (type, ModuleType, FunctionType, BuiltinFunctionType)  # a copy does not follow these


def copied(model: nn.Module, device: str | None = None) -> nn.Module:
    """A copy of a model that shares nothing with it; the original is not changed.

    Pruning, weight normalisation and modules that keep their last features hold tensors that are
    part of a graph. The copy holds their values, without the graph.

    Raises:
        ModelError: a TorchScript model, a model whose weights are shared out over processes, or
            something in it cannot be copied; names it.
    """
    _refuse_script(model)
    dist.refuse_sharded(model)
    try:
        work = copy.deepcopy(model, _graph_values(model))
    except Exception as error:
        raise ModelError(
            f"{_uncopied(model)} cannot be copied ({type(error).__name__}:"
            f" {' '.join(str(error).split())[:200]}). Set it to None before erasing, or give its"
            " class a __deepcopy__."
        ) from error
    return work if device is None else work.to(device)


def _refuse_script(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ModelError(
                f"{_said(model, name)} is TorchScript, which takes no eraser. Erase before"
                " torch.jit.script, torch.jit.trace or torch.jit.freeze, then script the result."
            )


def refuse_adapters(model: nn.Module) -> None:
    """Refuse an eraser on a model with adapters of `peft`: merging them would drop it (ModelError).

    `peft` is not imported: where nobody imported it, no module is one of its own.
    """
    tuners = sys.modules.get("peft.tuners.tuners_utils")
    others = sys.modules.get("peft.utils.other")
    kinds = tuple(
        kind
        for home, name in (
            (tuners, "BaseTunerLayer"),
            (others, "ModulesToSaveWrapper"),
            (others, "AuxiliaryTrainingWrapper"),
        )
        if isinstance(kind := getattr(home, name, None), type)
    )
    for name, module in model.named_modules():
        if kinds and isinstance(module, kinds):
            raise ModelError(
                f"{_said(model, name)} ({type(module).__name__}) is an adapter of peft: merging it"
                " later would drop the eraser. Call model = model.merge_and_unload() first, then"
                " erase."
            )


def _said(model: nn.Module, name: str) -> str:
    return f"'{name}' of {type(model).__name__}" if name else type(model).__name__


def _graph_values(model: nn.Module) -> dict[int, Any]:
    """What `copy.deepcopy` takes as copied already: every tensor of a graph, by its id."""
    memo: dict[int, Any] = {}
    seen: set[int] = set()
    left: list[Any] = [model]
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, Tensor):
            if not one.is_leaf:
                memo[id(one)] = one.detach().clone()
            continue
        left += _parts(one)
    return memo


def _parts(one: Any) -> list[Any]:
    """What an object holds, as far as a copy would follow it."""
    if isinstance(one, dict):
        return list(one.values())
    if isinstance(one, _CONTAINERS):
        return list(one)
    if isinstance(one, partial):
        return [*one.args, *one.keywords.values()]
    if isinstance(one, MethodType):
        return [one.__self__]
    if isinstance(one, _SHARED):
        return []
    return list(getattr(one, "__dict__", {}).values())


def _uncopied(model: nn.Module) -> str:
    """The attribute that stops a copy, by name; the model where none does alone."""
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            if key in ("_modules", "_parameters", "_buffers"):
                continue
            try:
                copy.deepcopy(value, _graph_values(value))
            except Exception:
                return f"{type(model).__name__}: '{f'{name}.{key}' if name else key}'"
    return type(model).__name__
