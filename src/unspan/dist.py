"""The only import of `torch.distributed`. Launch with torchrun; every reduction is an exact sum."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from unspan.erasers.linalg import Moments
from unspan.errors import DataError, ResourceError, UnspanError


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
    """
    if launched() == 1 or dist.is_initialized():
        yield
        return
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
    try:
        dist.all_gather_object(values, value)
    except RuntimeError as error:
        raise ResourceError(
            f"Another process died or does not answer: {str(error).splitlines()[0][:200]} See its"
            " message, and start all of them again."
        ) from error
    return values


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


def add_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace every gradient by its sum over all processes, in place."""
    if world() == 1:
        return
    grads = [one.grad if one.grad is not None else torch.zeros_like(one) for one in parameters]
    flat = torch.cat([grad.flatten().float() for grad in grads])
    dist.all_reduce(flat)
    for one, grad, part in zip(
        parameters, grads, flat.split([grad.numel() for grad in grads]), strict=True
    ):
        one.grad = part.view_as(grad).to(grad.dtype)


def same_buffers(model: nn.Module) -> None:
    """Give every process the buffers (running statistics) of the first."""
    if world() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def mean(total: float, count: int) -> float:
    """A mean over samples of all processes."""
    parts = gather((total, count))
    return sum(one for one, _ in parts) / max(sum(n for _, n in parts), 1)


def summed(moments: Moments, failure: UnspanError | None = None) -> Moments:
    """Moments over all processes; bitwise the same as one process over all the data.

    Args:
        moments: of this process.
        failure: what stopped this process; it then stops all of them.

    Raises:
        UnspanError: this process's failure, or a DataError that quotes another's.
    """
    said = gather(None if failure is None else str(failure))
    if failure is not None:
        raise failure
    for number, message in enumerate(said):
        if message is not None:
            raise DataError(f"Process {number} stopped: {message}")
    if world() == 1:
        return moments
    total = Moments(moments.dim)
    for state in gather(moments.state()):
        total.merge(state)
    return total
