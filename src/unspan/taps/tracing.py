"""What one forward pass shows of each module: order, shapes, and the layers that can be a head."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unspan.taps.reading import forward


@dataclass
class Trace:
    """What one forward pass showed of each called module."""

    calls: dict[str, int]
    finished: list[str]  # in order of completion
    shapes: dict[str, torch.Size]
    linear: dict[str, tuple[Tensor, Tensor]]  # name -> input, output of layers that can be a head
    output: Any


def trace_calls(model: nn.Module, inputs: Any) -> Trace:
    """Run the model once with a hook on every module; the hooks are removed again."""
    trace = Trace({}, [], {}, {}, None)

    def after(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            trace.calls[name] = trace.calls.get(name, 0) + 1
            trace.finished.append(name)
            if isinstance(output, Tensor):
                trace.shapes[name] = output.shape
                if args and isinstance(args[0], Tensor) and is_linear(module):
                    trace.linear[name] = (args[0], output)
                    while (
                        len(trace.linear) > 8
                    ):  # a head is among the last; earlier activations are let go
                        del trace.linear[next(iter(trace.linear))]

        return hook

    with ExitStack() as stack:
        for name, module in model.named_modules():
            stack.callback(module.register_forward_hook(after(name)).remove)
        trace.output = forward(model, inputs)
    return trace


def is_linear(module: nn.Module) -> bool:
    """The module can be a head: a linear layer or a 1x1 convolution."""
    weight = getattr(module, "weight", None)
    if isinstance(module, nn.Conv2d):
        return module.kernel_size == (1, 1) and module.groups == 1
    return isinstance(module, nn.Linear) or (
        isinstance(weight, Tensor)
        and weight.ndim == 2
        and not isinstance(module, (nn.Embedding, nn.EmbeddingBag))
    )
