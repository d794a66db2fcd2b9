"""Access paths: the ways people take features from a model, tried before and after an erasure.

An access path is a name and a function of (model, inputs). Nothing is assumed: a path counts as
erased when its output equals the eraser applied to what it gave before, and as original when it did
not change.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from unspan.erasers import Affine, Eraser, Layout, is_mapped
from unspan.extraction import CHILD, FeatureLayer, forward, logits_of, shown, tensors_in

AccessPath = Callable[[Any, Any], Any]  # of a model, whose library gives it methods of its own


def access_paths(model: nn.Module, feature_layer: FeatureLayer) -> dict[str, AccessPath]:
    """The access paths that this kind of model offers, by what a user would call them."""
    found: dict[str, AccessPath] = {}
    if feature_layer.head is not None:
        found[f"replace the head ({feature_layer.head}) by nn.Identity()"] = lambda m, x: (
            _without_head(m, feature_layer.head or "", x)
        )
        before = _last_before_head(model, feature_layer)
        if before:
            found[f"forward hook on the layer before the head ({before})"] = lambda m, x: _hooked(
                m, before, x
            )
    else:
        found["model output"] = lambda m, x: _tensor(forward(m, x), feature_layer.key)
    if hasattr(model, "forward_features"):
        found["forward_features(x)"] = lambda m, x: m.forward_features(x)
    if "pre_logits" in _parameters(getattr(model, "forward_head", None)):
        found["forward_head(forward_features(x), pre_logits=True)"] = lambda m, x: m.forward_head(
            m.forward_features(x), pre_logits=True
        )
    if hasattr(model, "reset_classifier"):
        found["reset_classifier(0)"] = _reset
    if hasattr(model, "base_model") and hasattr(model, "config"):
        found["output_hidden_states=True, hidden_states[-1]"] = _last_hidden
        found["base_model(...).last_hidden_state"] = lambda m, x: _entry(
            forward(m.base_model, x), "last_hidden_state"
        )
        found["base_model(...).pooler_output"] = lambda m, x: _entry(
            forward(m.base_model, x), "pooler_output"
        )
    return found


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
            value = path(model, inputs)
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


def _parameters(function: Any) -> Any:
    return inspect.signature(function).parameters if callable(function) else {}


def _sharing_copy(model: nn.Module) -> nn.Module:
    """A copy of the modules that shares all tensors, so that it can be rewired for free."""
    tensors = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def _without_head(model: nn.Module, head: str, inputs: Any) -> Any:
    model = _sharing_copy(model)
    parent, _, child = head.rpartition(".")
    setattr(model.get_submodule(parent), child, nn.Identity())
    return logits_of(forward(model, inputs))


def _reset(model: nn.Module, inputs: Any) -> Any:
    headless: Any = _sharing_copy(model)
    headless.reset_classifier(0)
    return forward(headless, inputs)


def _last_before_head(model: nn.Module, feature_layer: FeatureLayer) -> str | None:
    """Name of the module registered just before the head, leaf modules only."""
    names = [
        name
        for name, module in model.named_modules()
        if name.rpartition(".")[2] != CHILD
        and all(child == CHILD for child, _ in module.named_children())
    ]
    position = names.index(feature_layer.head) if feature_layer.head in names else 0
    return names[position - 1] if position else None


def _hooked(model: nn.Module, name: str, inputs: Any) -> Any:
    seen: list[Any] = []
    handle = model.get_submodule(name).register_forward_hook(lambda _m, _a, out: seen.append(out))
    try:
        forward(model, inputs)
    finally:
        handle.remove()
    return seen[-1]


def _last_hidden(model: nn.Module, inputs: Any) -> Any:
    inputs = inputs if isinstance(inputs, dict) else {model.main_input_name: inputs}
    return _sharing_copy(model)(**inputs, output_hidden_states=True).hidden_states[-1]


def _tensor(output: Any, key: str | None) -> Any:
    return output if key is None else output[key]


def _entry(output: Any, key: str) -> Any:
    return getattr(output, key)
