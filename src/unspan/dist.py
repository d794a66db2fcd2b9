"""The only import of `torch.distributed`. Launch with torchrun.

Each process reads its part of the data, and what is read is put together so that all of them end
with the result of one process: sums are exact, and rows come in an order of their own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from unspan.erasers.linalg import Moments
from unspan.errors import DataError, ModelError, ResourceError, UnspanError


def rank() -> int:
    """This process's number, 0 in a single process."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """Number of processes, 1 without torchrun."""
    return dist.get_world_size() if dist.is_initialized() else 1


def launched() -> int:
    """Number of processes that torchrun starts, also before they have joined; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def session(timeout: float) -> Iterator[None]:
    """Join the process group that torchrun describes; a no-op in a single process or when already
    joined.

    Args:
        timeout: seconds that a process waits for another, here and in every exchange.

    Raises:
        ResourceError: another process does not join.
    """
    if launched() == 1 or dist.is_initialized():
        yield
        return
    with _answered():
        dist.init_process_group("gloo", timeout=timedelta(seconds=timeout))
    try:
        yield
    finally:
        dist.destroy_process_group()


def gather(value: Any) -> list[Any]:
    """Every process's value, in rank order.

    Raises:
        ResourceError: another process died or does not answer.
    """
    if world() == 1:
        return [value]
    values: list[Any] = [None] * world()
    with _answered():
        dist.all_gather_object(values, value)
    return values


@contextmanager
def _answered() -> Iterator[None]:
    """A call that needs every process; one that is gone is a ResourceError."""
    try:
        yield
    except RuntimeError as error:
        raise ResourceError(
            f"Another process died or does not answer: {str(error).splitlines()[0][:200]} See its"
            " message, and start all of them again."
        ) from error


def all_rows(rows: Tensor) -> Tensor:
    """Rows `[n, ...]` of all processes one after the other, in rank order; n may differ and be 0.

    Raises:
        ResourceError: another process died or does not answer.
    """
    if world() == 1:
        return rows
    parts = []
    for number, (shape, dtype) in enumerate(gather((rows.shape, rows.dtype))):
        if not shape[0]:
            continue
        part = rows.contiguous() if number == rank() else torch.empty(shape, dtype=dtype)
        with _answered():
            dist.broadcast(part, number)
        parts.append(part)
    return torch.cat(parts) if parts else rows


@contextmanager
def stopping_together() -> Iterator[None]:
    """Work of which every process does its part; where one is stopped, all of them stop.

    Raises:
        UnspanError: what stopped this process, or a DataError that quotes another's.
        ResourceError: another process died or does not answer.
    """
    failure = None
    try:
        yield
    except UnspanError as error:
        failure = error
    said = gather(None if failure is None else str(failure))
    if failure is not None:
        raise failure
    for number, message in enumerate(said):
        if message is not None:
            raise DataError(f"Process {number} stopped: {message}")


def agree(what: str, value: Any) -> None:
    """Stop unless every process holds the same value.

    Raises:
        DataError: processes were started with different code, data or settings.
    """
    values = gather(value)
    if any(other != values[0] for other in values):
        raise DataError(
            f"Processes disagree on {what}: {values}. Start all of them with the same code, data"
            " and settings."
        )


def add_up(tensor: Tensor) -> None:
    """Replace a tensor by its sum over all processes, in place; the last digits depend on them.

    Raises:
        ResourceError: another process died or does not answer.
    """
    if world() > 1:
        with _answered():
            dist.all_reduce(tensor)


def add_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace every gradient by its sum over all processes, in place."""
    if world() == 1:
        return
    grads = [one.grad if one.grad is not None else torch.zeros_like(one) for one in parameters]
    flat = torch.cat([grad.flatten().float() for grad in grads])
    add_up(flat)
    for one, grad, part in zip(
        parameters, grads, flat.split([grad.numel() for grad in grads]), strict=True
    ):
        one.grad = part.view_as(grad).to(grad.dtype)


def same_buffers(model: nn.Module) -> None:
    """Give every process the buffers (running statistics) of the first."""
    if world() > 1:
        for buffer in model.buffers():
            with _answered():
                dist.broadcast(buffer, 0)


def refuse_sharded(model: nn.Module) -> None:
    """Refuse a model of which every process holds a part of the weights.

    Raises:
        ModelError: a module is wrapped in FSDP, or a parameter is a DTensor.
    """
    wrappers = _kinds("torch.distributed.fsdp", "FullyShardedDataParallel", "FSDPModule")
    tensors = _kinds("torch.distributed.tensor", "DTensor")
    for name, module in model.named_modules():
        if isinstance(module, wrappers):
            raise _sharded(f"'{name}'" if name else type(model).__name__, "is wrapped in FSDP")
    for name, parameter in model.named_parameters():
        if isinstance(parameter, tensors):
            raise _sharded(f"'{name}' of {type(model).__name__}", "is a DTensor")


def _kinds(home: str, *names: str) -> tuple[type, ...]:
    """Classes of a module of torch; where nobody imported it, no object is of them."""
    module = sys.modules.get(home)
    return () if module is None else tuple(getattr(module, name) for name in names)


def _sharded(what: str, how: str) -> ModelError:
    return ModelError(
        f"{what} {how}, so that every process holds a part of the weights. Gather the full state"
        " dict (torch.distributed.checkpoint.state_dict.get_model_state_dict with"
        " StateDictOptions(full_state_dict=True)), load it into a plain module, and pass that."
    )


def mean(total: float, count: int) -> float:
    """A mean over samples of all processes."""
    parts = gather((total, count))
    return sum(one for one, _ in parts) / max(sum(n for _, n in parts), 1)


def summed(moments: Moments) -> Moments:
    """Moments over all processes; bitwise the same as one process over all the data."""
    if world() == 1:
        return moments
    total = Moments(moments.dim)
    for state in gather(moments.state()):
        total.merge(state)
    return total
