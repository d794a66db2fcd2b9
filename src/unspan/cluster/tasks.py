"""What is sent to the workers of a cluster, and what they do with it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from unspan.cluster.sessions import library
from unspan.errors import ResourceError, UnspanError, UsageError
from unspan.system.memory import keep_freed_memory
from unspan.system.user_code import Known

Item = TypeVar("Item")
Found = TypeVar("Found")

_TRIES = 3  # of an item; one that kills every worker ends the run
_DEADLY = (
    "{tries} workers of the cluster died on part {number} of the work. They need more memory, or"
    " code that reads a sample crashes: leave out --engine ray to see where."
)


class Task(Generic[Item, Found]):
    """A function and its items, as they are sent to workers.

    Args:
        threads: that torch computes with.
        work: the function.
        items: all of them; a worker is told positions.
    """

    def __init__(self, threads: int, work: Callable[[Item], Found], items: Sequence[Item]) -> None:
        self.threads, self.work, self.items = threads, work, items

    def __reduce__(self) -> tuple[Any, ...]:
        return _task, (_ImportPath(), Known(), self.threads, self.work, self.items)


def _task(_path: None, _known: None, *parts: Any) -> Task[Any, Any]:
    return Task(*parts)


class _ImportPath:
    """Where this process finds modules, for a worker: unpickled before the objects of a task."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _search, (list(sys.path),)


def _search(folders: list[str]) -> None:
    """Find modules in these folders too."""
    sys.path += [one for one in folders if one not in sys.path]


_OPENED: dict[str, Task[Any, Any]] = {}  # in a worker: the task that it is on, by its place


def answered(tries: Any, sent: Any, number: int) -> dict[str, bytes]:
    """In a worker: what the function gives for an item, or the error it raised.

    Args:
        tries: handle of the actor that counts.
        sent: reference of the task, as bytes.
        number: of the item.
    """
    ray = library()
    try:
        if ray.get(tries.begin.remote(sent.hex(), number)) > _TRIES:
            raise ResourceError(_DEADLY.format(tries=_TRIES, number=number + 1))
        task = _opened(ray, sent)
        found = task.work(task.items[number])
    except Exception as error:  # whatever the code of the user raises
        found = Raised(_sendable(ray, error))
    return {"found": ray.cloudpickle.dumps(found)}


def _opened(ray: Any, sent: Any) -> Task[Any, Any]:
    """A task, opened once in a process."""
    key = sent.hex()
    if key not in _OPENED:
        _OPENED.clear()
        keep_freed_memory()
        try:
            _OPENED[key] = ray.cloudpickle.loads(ray.get(sent))
        except Exception as error:  # whatever the objects of the user raise
            raise UsageError(
                f"A worker of the cluster cannot open the model or the data: {told(error)}. Every"
                " machine needs the same packages and modules."
            ) from error
        torch.set_num_threads(_OPENED[key].threads)
    return _OPENED[key]


@dataclass(frozen=True)
class Raised:
    """An error of a worker, to be raised in the process that waits for it."""

    error: Exception


def _sendable(ray: Any, error: Exception) -> Exception:
    """The error where it survives pickling, else one that says the same."""
    try:
        ray.cloudpickle.loads(ray.cloudpickle.dumps(error))
    except Exception:
        return ResourceError(f"Work on the cluster failed: {told(error)}")
    return error


def packed(ray: Any, task: Task[Any, Any]) -> bytes:
    """A task as bytes (UsageError where an object of the user cannot be sent)."""
    try:
        content: bytes = ray.cloudpickle.dumps(task)
    except UnspanError:
        raise
    except Exception as error:  # whatever the objects of the user raise
        raise UsageError(
            f"The model or the data cannot be sent to other processes: {told(error)}. Define"
            " their classes and functions in a module, hold no open files or locks in them, or"
            " leave out --engine ray."
        ) from error
    return content


def told(error: BaseException) -> str:
    """The last line of an error, which names its cause."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[-1][:300]}".removesuffix(".")
