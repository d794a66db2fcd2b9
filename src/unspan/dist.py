"""The only import of `torch.distributed`. Launch with torchrun; every reduction is an exact sum."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from unspan.errors import DataError
from unspan.linalg import Moments


def rank() -> int:
    """This process's number, 0 in a single process."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """Number of processes, 1 without torchrun."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def session(timeout: float) -> Iterator[None]:
    """Join the process group that torchrun describes; a no-op in a single process or when already joined."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    dist.init_process_group("gloo", timeout=timedelta(seconds=timeout))
    try:
        yield
    finally:
        dist.destroy_process_group()


def gather(value: Any) -> list[Any]:
    """Every process's value, in rank order."""
    if world() == 1:
        return [value]
    values: list[Any] = [None] * world()
    dist.all_gather_object(values, value)
    return values


def agree(what: str, value: Any) -> None:
    """Stop unless every process holds the same value.

    Raises:
        DataError: processes were started with different code, data or settings.
    """
    values = gather(value)
    if any(other != values[0] for other in values):
        raise DataError(f"Processes disagree on {what}: {values}. Start all of them with the same code, data and settings.")


def summed(moments: Moments) -> Moments:
    """Moments over all processes; bitwise the same as one process over all the data."""
    if world() == 1:
        return moments
    total = Moments(moments.dim)
    for state in gather(moments.state()):
        total.merge(state)
    return total
