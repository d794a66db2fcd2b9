"""Inputs of a model, which are a tensor, or a dict or tuple of tensors: their rows and device."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def count_rows(inputs: Any) -> int:
    """The number of samples in the inputs of a batch; 0 where no tensor is among them."""
    if isinstance(inputs, Tensor):
        return len(inputs)
    values = inputs.values() if isinstance(inputs, dict) else inputs
    return next((len(value) for value in values if isinstance(value, Tensor)), 0)


def cut_rows(inputs: Any, part: int | slice | Tensor) -> Any:
    """The first rows, a slice, or the rows of an index, of a tensor or of a dict or tuple of
    tensors.
    """
    part = slice(part) if isinstance(part, int) else part
    if isinstance(inputs, Tensor):
        return inputs[part]
    if isinstance(inputs, dict):
        return {
            key: value[part] if isinstance(value, Tensor) else value
            for key, value in inputs.items()
        }
    return type(inputs)(value[part] if isinstance(value, Tensor) else value for value in inputs)


def first_rows(inputs: Any, count: int) -> Any:
    """The first samples of a batch's inputs."""
    return cut_rows(inputs, count)


def place(inputs: Any, like: Tensor | None) -> Any:
    """Inputs on the device of a model parameter, floating tensors in its dtype."""
    if like is None:
        return inputs
    if isinstance(inputs, Tensor):
        return inputs.to(
            like.device,
            like.dtype if inputs.is_floating_point() and like.is_floating_point() else None,
        )
    if isinstance(inputs, dict):
        return {key: place(value, like) for key, value in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        return type(inputs)(place(value, like) for value in inputs)
    return inputs
