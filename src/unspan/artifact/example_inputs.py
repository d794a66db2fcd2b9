"""Inputs of a model to be exported, a tensor or keyword arguments of tensors, and its output."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Inputs = Tensor | Mapping[str, Tensor]


def batch_size(inputs: Inputs) -> int:
    """How many samples the inputs hold."""
    return len(next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs)


def resized(inputs: Inputs, size: int) -> Inputs:
    """Return `size` samples, repeated in order."""
    rows = torch.arange(size) % batch_size(inputs)
    if isinstance(inputs, Mapping):
        return {name: tensor[rows.to(tensor.device)] for name, tensor in inputs.items()}
    return inputs[rows.to(inputs.device)]


def first_output(model: Callable[..., Any], inputs: Inputs) -> Tensor:
    """The tensor that a model returns, the logits of a transformers output, or the first tensor."""
    output = model(**inputs) if isinstance(inputs, Mapping) else model(inputs)
    if isinstance(output, Tensor):
        return output
    values = output.values() if isinstance(output, Mapping) else output
    return next(value for value in values if isinstance(value, Tensor))
