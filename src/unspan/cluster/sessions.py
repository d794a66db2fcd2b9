"""The only import of `ray`: joining a cluster, and leaving it."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from unspan import dist
from unspan.errors import ResourceError, UsageError
from unspan.run import Engine, Run

_COUNTERS: list[Any] = []  # the counter of the session that this process is in


@contextmanager
def session(run: Run) -> Iterator[None]:
    """Within, one cluster serves every call of `mapped`.

    It is the one that this process is connected to, the one of `$RAY_ADDRESS`, or one on this
    machine that ends with the session. Nothing happens with the local engine.

    Raises:
        UsageError: Ray is missing, or torchrun started this process.
        ResourceError: the cluster does not answer.
    """
    if run.engine is Engine.LOCAL or _COUNTERS:
        yield
        return
    ray = library()
    if dist.launched() > 1:
        raise UsageError("--engine ray and torchrun both divide the data: use one of them.")
    with _joined(ray, run.workers):
        _COUNTERS.append(_counter(ray))
        try:
            yield
        finally:
            _COUNTERS.clear()


def counter() -> Any:
    """Handle of the actor that counts, within a session, how often each item was begun."""
    return _COUNTERS[0]


def _counter(ray: Any) -> Any:
    """The actor, on the machine of this process, since it is needed as long as this is.

    Its class is sent as it stands here: a process that imports unspan takes seconds to start.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    class Tries:
        def __init__(self) -> None:
            self.begun: dict[tuple[str, int], int] = {}

        def begin(self, task: str, number: int) -> int:
            self.begun[task, number] = self.begun.get((task, number), 0) + 1
            return self.begun[task, number]

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(Tries).remote()


@contextmanager
def _joined(ray: Any, workers: int) -> Iterator[None]:
    """Within, this process is connected to a cluster."""
    if ray.is_initialized():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    _connect(ray, workers)
    try:
        yield
    finally:
        ray.shutdown()
        if signal.getsignal(signal.SIGTERM) is not handler:  # Ray put its own there
            signal.signal(signal.SIGTERM, handler)


def library() -> Any:
    """The library."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UsageError(f"--engine ray needs Ray ({error}): pip install 'unspan[ray]'.") from error
    return ray


def _connect(ray: Any, workers: int) -> None:
    """Join the cluster of `$RAY_ADDRESS`, or start one on this machine."""
    address = os.environ.get("RAY_ADDRESS")
    own: dict[str, Any] = {"include_dashboard": False, "num_cpus": workers or None}
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({} if address else own),
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ResourceError(
            f"Ray does not answer at {address or 'this machine'}: {str(error).splitlines()[0]}"
            " Check RAY_ADDRESS, or unset it to work on this machine alone."
        ) from error
