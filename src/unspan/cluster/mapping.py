"""A function mapped over items, in this process or by Ray Data.

A worker that dies is replaced, and its item is worked on anew. So what is mapped must come to the
same when it is done twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from unspan.cluster.sessions import counter, library, session
from unspan.cluster.tasks import Raised, Task, answered, packed, told
from unspan.errors import ResourceError
from unspan.run import Engine, Run

Item = TypeVar("Item")
Found = TypeVar("Found")


def mapped(work: Callable[[Item], Found], items: Sequence[Item], run: Run) -> Iterator[Found]:
    """What a function gives for each item, in the order of the items.

    One item alone is worked on in this process, whatever the engine.

    Args:
        work: is copied to every worker once, with all it holds; it computes there with as many
            threads as this process does.
        items: that it is called with.
        run: engine and workers.

    Raises:
        UnspanError: of the function, at its first item that fails.
        UsageError: Ray is missing, or the function cannot be copied.
        ResourceError: the cluster does not answer, or workers die again and again.
    """
    with session(run):
        if run.engine is Engine.LOCAL or len(items) < 2:
            yield from map(work, items)
        else:
            yield from _mapped_by_ray(work, items, run.workers)


def _mapped_by_ray(
    work: Callable[[Item], Found], items: Sequence[Item], workers: int
) -> Iterator[Found]:
    """The same by Ray Data."""
    ray = library()
    tries = counter()
    sent = ray.put(packed(ray, Task(torch.get_num_threads(), work, items)))
    numbers = ray.data.from_items(list(range(len(items))), override_num_blocks=len(items))
    found = numbers.map(
        lambda row: answered(tries, sent, row["item"]),
        compute=ray.data.TaskPoolStrategy(_size(ray, workers)),
        num_cpus=1,
    )
    found.context.enable_progress_bars = False
    found.context.execution_options.preserve_order = True
    with _quiet():
        try:
            for row in found.iter_rows():
                answer = ray.cloudpickle.loads(row["found"])
                if isinstance(answer, Raised):
                    raise answer.error
                yield answer
        except ray.exceptions.RayError as error:
            raise ResourceError(f"Work on the cluster failed: {told(error)}.") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Within, Ray Data logs nothing: what goes wrong is raised."""
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def _size(ray: Any, workers: int) -> int:
    """Workers: as many as were asked for, or as have their threads on processors of their own."""
    processors = int(ray.cluster_resources().get("CPU", 1))
    return min(workers or max(1, processors // torch.get_num_threads()), processors)
