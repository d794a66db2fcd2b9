"""What one forward pass shows of each module: order, shapes, and the layers that can be a head."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unspan.extraction.layers import given_to, holds_affine
from unspan.extraction.reading import forward


@dataclass
class Trace:
    """What one forward pass showed of each called module."""

    calls: dict[str, int]
    finished: list[str]  # in order of completion
    shapes: dict[str, torch.Size]
    linear: dict[str, tuple[Tensor, Tensor]]  # name -> input, output of layers that can be a head
    keywords: dict[str, str]  # name -> argument that carried the input, where it had a name
    output: Any


def trace_calls(model: nn.Module, inputs: Any) -> Trace:
    """Run the model once with a hook on every module; the hooks are removed again."""
    trace = Trace({}, [], {}, {}, {}, None)

    def after(name: str) -> Callable[..., None]:
        def hook(
            module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
        ) -> None:
            trace.calls[name] = trace.calls.get(name, 0) + 1
            trace.finished.append(name)
            if isinstance(output, Tensor):
                trace.shapes[name] = output.shape
                keyword, given = given_to(args, kwargs)
                if given is not None and holds_affine(module, given, output):
                    trace.linear[name] = (given, output)
                    if keyword is not None:
                        trace.keywords[name] = keyword
                    while (
                        len(trace.linear) > 8
                    ):  # a head is among the last; earlier activations are let go
                        del trace.linear[next(iter(trace.linear))]

        return hook

    with ExitStack() as stack:
        for name, module in model.named_modules():
            handle = module.register_forward_hook(after(name), with_kwargs=True)
            stack.callback(handle.remove)
        trace.output = forward(model, inputs)
    return trace
