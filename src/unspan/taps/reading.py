"""Run a model, and read its features at a tap."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unspan.errors import UnspanError, UsageError
from unspan.taps.tap import Pool, Tap


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside `torch.compile` and `DataParallel` wrappers."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(
            model, (nn.DataParallel, nn.parallel.DistributedDataParallel)
        ):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every module's flag is put back as it was, even on
    errors.
    """
    flags = [(module, module.training) for module in model.modules()]
    try:
        with torch.no_grad():
            model.eval()
            yield
    finally:
        for module, flag in flags:
            module.training = flag


def forward(model: nn.Module, inputs: Any) -> Any:
    """Call the model on a tensor, a tuple of arguments, or a dict of keyword arguments.

    Raises:
        UsageError: the call fails; names the model and what its forward takes.
    """
    try:
        if isinstance(inputs, dict):
            return model(**inputs)
        return model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs)
    except (UnspanError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if "allocate memory" in str(error):
            raise
        raise UsageError(_forward_message(model, inputs, error)) from error


def _forward_message(model: nn.Module, inputs: Any, error: Exception) -> str:
    line = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
    signature = inspect.signature(type(model).forward)
    return (
        f"{type(model).__name__}.forward{signature} failed on {describe(inputs)}: {line}. Give"
        " batches its forward accepts (a tensor, a tuple, or a dict of keyword arguments)."
    )


def describe(value: Any) -> str:
    """Short text for tensors and containers of tensors, for messages."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if isinstance(value, dict) or hasattr(value, "keys"):
        return "{" + ", ".join(f"{key}: {describe(value[key])}" for key in value.keys()) + "}"  # noqa: SIM118
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(map(describe, value)) + ")"
    return type(value).__name__


def read(model: nn.Module, tap: Tap, inputs: Any) -> tuple[Tensor, Any]:
    """One forward pass: features `[n, d]` at the tap, and the model's output."""
    seen: list[Any] = []
    module = model.get_submodule(tap.reads)
    if tap.output:
        handle = module.register_forward_hook(lambda _m, _a, out: seen.append(out))
    else:
        handle = module.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    try:
        output = forward(model, inputs)
    finally:
        handle.remove()
    return pooled(seen[0] if tap.key is None else seen[0][tap.key], tap.pool), output


def pooled(z: Any, pool: Pool | None) -> Tensor:
    """Features as `[n, d]`: tokens by `cls` or `mean`, maps by `gap`; trailing 1x1 axes are
    dropped.

    Raises:
        UsageError: several vectors a sample and no pooling chosen; never flattened in silence.
    """
    if not isinstance(z, Tensor):
        raise UsageError(
            f"The tap gives {describe(z)}, not one tensor. Name an entry, tap='output:KEY', or"
            " another module with tap=."
        )
    if z.ndim > 2 and z[0, 0].numel() == 1:
        z = z.flatten(1)
    if z.ndim == 3 and pool in ("cls", "mean"):
        return z[:, 0] if pool == "cls" else z.mean(1)
    if z.ndim == 4 and pool in ("gap", "mean"):
        return z.mean((2, 3))
    if z.ndim != 2:
        raise UsageError(
            f"The features are {describe(z)}, more than one vector a sample. Choose pool='cls',"
            " 'mean' (tokens) or 'gap' (maps), or another tap=."
        )
    return z


def tensors_in(output: Any, name: str = "") -> list[tuple[str, Tensor]]:
    """Every floating tensor of a model output with its path: tuples, dicts and objects with fields
    are searched; `""` is the output itself.
    """
    if isinstance(output, Tensor):
        return [(name, output)] if output.is_floating_point() else []
    if isinstance(output, Mapping):
        return [
            pair for key, value in output.items() for pair in tensors_in(value, f"{name}[{key!r}]")
        ]
    if isinstance(output, (tuple, list)):
        return [
            pair for i, value in enumerate(output) for pair in tensors_in(value, f"{name}[{i}]")
        ]
    if is_dataclass(output) and not isinstance(output, type):
        return [
            pair
            for one in fields(output)
            for pair in tensors_in(getattr(output, one.name), f"{name}.{one.name}")
        ]
    return []


def relative_difference(one: Tensor, other: Tensor) -> float:
    """Largest difference of two tensors as a share of the largest entry; infinite where the shapes
    differ.
    """
    if one.shape != other.shape:
        return float("inf")
    if one.numel() == 0:
        return 0.0
    a, b = one.detach().double().cpu(), other.detach().double().cpu()
    return float((a - b).abs().max() / a.abs().max().clamp_min(1e-30))


def logits_of(output: Any) -> Tensor | None:
    """The class scores `[n, C]` in a model output, or None when there is no single one."""
    if isinstance(output, Tensor):
        return output
    if getattr(output, "logits", None) is not None:
        return output.logits
    if isinstance(output, dict) and isinstance(output.get("logits"), Tensor):
        return output["logits"]
    return None


def head_parameters(model: nn.Module, tap: Tap) -> tuple[Tensor, Tensor] | None:
    """Weight `[C, d]` and bias `[C]` of the head in float64 on the CPU, or None without a head."""
    if tap.head is None:
        return None
    head = model.get_submodule(tap.head)
    weight = head.weight.detach().double().cpu().flatten(1)
    bias = getattr(head, "bias", None)
    return weight, (
        torch.zeros(len(weight), dtype=torch.float64)
        if bias is None
        else bias.detach().double().cpu()
    )
