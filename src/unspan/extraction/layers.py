"""Layers that can be a head: what they are called with, and the `W x + b` they really compute."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn


def given_to(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str | None, Tensor | None]:
    """The tensor a module was called with, and the name of its argument where it had one."""
    if args:
        return None, args[0] if isinstance(args[0], Tensor) else None
    tensors = [(name, one) for name, one in kwargs.items() if isinstance(one, Tensor)]
    return tensors[0] if len(tensors) == 1 else (None, None)


def holds_affine(module: nn.Module, given: Tensor, output: Tensor) -> bool:
    """Whether the output really is `W x + b` with the weight and bias that the module stores."""
    if not is_linear(module) or not (given.is_floating_point() and output.is_floating_point()):
        return False
    weight, bias = stored_affine(module)
    channels = isinstance(module, nn.Conv2d)
    x = given.movedim(1, -1) if channels else given
    y = output.movedim(1, -1) if channels else output
    if x.shape[-1] != weight.shape[1] or y.shape[-1] != weight.shape[0]:
        return False
    if x.shape[:-1] != y.shape[:-1]:
        return False
    wide = torch.promote_types(given.dtype, torch.float32)
    # a head is small, its input can be a long row of tokens: some of them tell
    x, y = x.reshape(-1, x.shape[-1])[:256].to(wide), y.reshape(-1, y.shape[-1])[:256].to(wide)
    expected = x @ weight.to(x).mT
    if bias is not None:
        expected = expected + bias.to(x)
    tolerance = 1e-3 if output.dtype in (torch.float32, torch.float64) else 3e-2
    return bool((expected - y).abs().max() <= tolerance * y.abs().max().clamp_min(1e-6))


def stored_affine(module: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Weight `[C, d]` and bias `[C]` of a layer.

    Transposed where the layer stores `[d, C]`, as those of GPT-2 do.
    """
    weight = cast(Tensor, module.weight).detach().flatten(1)
    bias = getattr(module, "bias", None)
    bias = bias.detach() if isinstance(bias, Tensor) else None
    if not isinstance(module, (nn.Linear, nn.Conv2d)) and is_transposed(module):
        weight = weight.mT
    return weight, bias


def is_transposed(module: nn.Module) -> bool:
    """The layer multiplies `x @ weight`: told by its `forward` on the first unit vector.

    The layer itself is not called: its hooks, which may be those that ask, must not see this.
    """
    weight: Any = module.weight
    calculate: Any = module.forward
    rows, columns = weight.shape
    unit = torch.zeros(1, rows, dtype=weight.dtype, device=weight.device)
    unit[0, 0] = 1
    try:
        with torch.no_grad():
            change = calculate(unit) - calculate(torch.zeros_like(unit))
    except (RuntimeError, TypeError, ValueError):
        return False
    return change.shape == (1, columns) and torch.allclose(
        change[0].float(), weight[0].float(), rtol=1e-2, atol=1e-3
    )


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
