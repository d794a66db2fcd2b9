"""Settings of a run: device, batch size, seed and progress."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral

import torch

from unspan.errors import UsageError
from unspan.system.steps import Step, StepListener
from unspan.system.text_enum import TextEnum


class Engine(TextEnum):
    """Who reads data and maps files: this process, or the workers of a Ray cluster."""

    LOCAL = "local"
    RAY = "ray"


@dataclass(frozen=True, kw_only=True)
class Run:
    """Settings of a run that do not change what is computed, except `seed`.

    Attributes:
        device: where the model runs; None keeps the model's own device.
        batch_size: samples a forward pass, for data that is not a loader already.
        engine: `ray` divides passes over data, and files of a gallery, among the workers of a
            cluster; see `unspan.cluster`.
        workers: loader processes; with the engine `ray` instead workers of the cluster, 0 for as
            many as its processors hold with the threads of this process.
        seed: of every random choice.
        max_samples: stop after this many samples; required for data without a length.
        timeout: seconds after which a silent loader worker or process ends the run.
        progress: called as `progress(stage, done, total)`; total is None when unknown. A
            `StepListener` also hears of the steps.
    """

    device: str | None = None
    batch_size: int = 64
    engine: Engine | str = Engine.LOCAL
    workers: int = 0
    seed: int = 0
    max_samples: int | None = None
    timeout: float = 300.0
    progress: Callable[[str, int, int | None], None] | None = None

    def __post_init__(self) -> None:
        for name, low in (("batch_size", 1), ("workers", 0), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < low:
                raise UsageError(f"{name}={value!r}: use a whole number >= {low}.")
            object.__setattr__(self, name, int(value))
        if self.engine not in list(Engine):
            raise UsageError(f"engine={self.engine!r}: use {', '.join(Engine)}.")
        object.__setattr__(self, "engine", Engine(self.engine))
        if self.seed >= 2**63:
            raise UsageError(f"seed={self.seed}: use a whole number below 2**63.")
        if self.max_samples is not None and self.max_samples < 1:
            raise UsageError(f"max_samples={self.max_samples}: use a whole number >= 1.")
        if self.device is not None:
            _check_device(self.device)

    @property
    def loaders(self) -> int:
        """Loader processes of this process."""
        return self.workers if self.engine is Engine.LOCAL else 0

    def report(self, stage: str, done: int, total: int | None) -> None:
        """Tell the progress listener, if there is one."""
        if self.progress is not None:
            self.progress(stage, done, total)

    def plan(self, steps: Sequence[Step]) -> None:
        """Tell which steps will come, where the listener counts steps."""
        if isinstance(self.progress, StepListener):
            self.progress.planned(steps)

    def begin(self, step: Step) -> None:
        """Tell that a step begins; the one before is over."""
        if isinstance(self.progress, StepListener):
            self.progress.begun(step)
        else:
            self.report(str(step), 0, None)


def device_name(device: str | None) -> str:
    """A device as people tell it from others: `cpu`, or the kind and the name of a GPU."""
    if device is None or torch.device(device).type != "cuda":
        return device or "cpu"
    return f"cuda ({torch.cuda.get_device_name(device)})"


def _check_device(device: str) -> None:
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise UsageError(
            f"device='{device}' is not a device; use cpu, cuda, cuda:0 or mps."
        ) from error
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(kind, True):
        raise UsageError(f"device='{device}': no {kind} device on this machine; use --device cpu.")
