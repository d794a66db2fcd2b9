"""The steps of a run: planned before the first begins, then begun one after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One step of a run.

    Attributes:
        work: what is done; steps of the same work take about as long.
        on: which model or data it is done on; empty where there is one only.
        weight: about how long it takes, against other steps of the run.
    """

    work: str
    on: str = ""
    weight: float = 1.0

    def __str__(self) -> str:
        """As a person reads it.

        >>> str(Step("linear probes", "original")), str(Step("t-SNE"))
        ('linear probes, original', 't-SNE')
        """
        return f"{self.work}, {self.on}" if self.on else str(self.work)


class StepListener(ABC):
    """Hears which steps a run has and which one begins. It is called for parts of a step."""

    @abstractmethod
    def planned(self, steps: Sequence[Step]) -> None:
        """More steps will come, in this order. One that is known already is not a further one."""

    @abstractmethod
    def begun(self, step: Step) -> None:
        """The step before is over, and this one begins. Planned steps may be left out."""

    @abstractmethod
    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """So much of a part of the step is done; total is None when unknown."""
