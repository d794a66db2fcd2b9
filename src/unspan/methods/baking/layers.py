"""Layers with weights, and what they are given in a forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from unspan.data.inputs import place
from unspan.extraction import eval_mode, forward, input_like


def layers_with_weights(model: nn.Module, inputs: Any) -> list[str]:
    """Names of the layers with a weight matrix or kernel, in the order in which they run.

    Layers that run more than once are left out.

    Args:
        model: any module.
        inputs: a batch of it.
    """
    ran: list[str] = []
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.modules.conv._ConvNd))
    ]
    handles = [
        module.register_forward_pre_hook(lambda _module, _args, name=name: ran.append(name))
        for name, module in found
    ]
    try:
        with eval_mode(model):
            forward(model, place(inputs, input_like(model, inputs)))
    finally:
        for handle in handles:
            handle.remove()
    return [name for name in dict.fromkeys(ran) if ran.count(name) == 1]


def matched_layers(model: nn.Module, inputs: Any, count: int) -> list[str]:
    """Names of layers with weights, spread evenly over the last half of a network.

    The first and the last of that half are among them, as long as there are two or more.

    Args:
        model: any module.
        inputs: a batch of it.
        count: most layers.
    """
    names = layers_with_weights(model, inputs)
    half = names[len(names) // 2 :]
    if count >= len(half):
        return half
    gap = (len(half) - 1) / max(count - 1, 1)
    return [half[-1 - round(i * gap)] for i in reversed(range(count))]


@contextmanager
def pooled_inputs(model: nn.Module, names: list[str]) -> Iterator[dict[str, Tensor]]:
    """The inputs of the named layers at the last forward pass, `[n, d]` float32.

    They are means over positions or tokens, by the name of the layer.
    """
    seen: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, x: Tensor) -> None:
        seen[name] = _pooled(module, x.float())

    handles = [
        model.get_submodule(name).register_forward_pre_hook(
            lambda module, args, name=name: keep(name, module, args[0])
        )
        for name in names
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _pooled(module: nn.Module, x: Tensor) -> Tensor:
    """The mean `[n, d]` over positions of a convolution's input `[n, d, ...]`, or over tokens of a
    linear layer's input `[n, ..., d]`.
    """
    if isinstance(module, nn.modules.conv._ConvNd):
        return x.flatten(2).mean(2)
    return x if x.ndim == 2 else x.flatten(1, -2).mean(1)
