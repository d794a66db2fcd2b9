"""How far a command is: one line that changes on a terminal, a line now and then in a log file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.text import Text

from unspan.system.durations import duration
from unspan.system.steps import Step, StepListener

EVERY = 30.0  # seconds between two lines in a log file
Report = Callable[[str, int, "int | None"], None]


@contextmanager
def progress(out: Console) -> Iterator[Course]:
    """Which step of how many, and the time left, while the work of the block lasts.

    Args:
        out: where it is shown; nowhere when it is quiet.
    """
    course = Course()
    if out.quiet:
        yield course
    elif out.is_terminal and not out.is_dumb_terminal:
        with Live(console=out, transient=True, get_renderable=lambda: shown(course)):
            yield course
    else:
        with heartbeat(out, course):
            yield course


@contextmanager
def line(out: Console) -> Iterator[Report]:
    """The same for work that consists of whole runs: their steps are not counted."""
    with progress(out) as course:
        yield lambda stage, done, total: course(stage, done, total)


def shown(course: Course) -> Text:
    """The line of a terminal: cut at its right end, never wrapped."""
    return Text(course.words(), no_wrap=True, overflow="ellipsis", end="")


@contextmanager
def heartbeat(out: Console, course: Course, every: float | None = None) -> Iterator[None]:
    """A line every 30 seconds.

    Args:
        out: where lines go.
        course: what they say.
        every: seconds between two lines; `EVERY` by default.
    """
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(EVERY if every is None else every):
            out.print(f"{course.words()}; {course.age()}", markup=False)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Course(StepListener):
    """Where a run is: the step, the part of it that was last reported, and how long both take.

    A step that was not begun yet is expected to take as long as those of the same work did, by
    their weight; without one, as long as the steps so far did.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._start = clock()
        self._plan: tuple[Step, ...] = ()
        self._step: Step | None = None
        self._step_began = self._start
        self._over: list[tuple[Step, float]] = []  # steps that are over, and their seconds
        self._part = _Part("", 0, None, 0, self._start)

    def planned(self, steps: Sequence[Step]) -> None:
        """Add steps to the plan; those that stand in it already are not counted again."""
        self._plan += tuple(one for one in dict.fromkeys(steps) if one not in self._plan)

    def begun(self, step: Step) -> None:
        """Note that the step before is over."""
        now = self._clock()
        if self._step is not None:
            self._over.append((self._step, now - self._step_began))
        self._step, self._step_began = step, now
        self._part = _Part("", 0, None, 0, now)

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Note how much of a part is done; a part that starts over has a pace of its own."""
        last = self._part
        goes_on = total == last.total and done >= last.done and last.stage != ""
        first, began = (last.first, last.began) if goes_on else (done, self._clock())
        self._part = _Part(stage, done, total, first, began)

    def words(self) -> str:
        """The step, the time left and what is worked on, for example
        "step 7 of 20, about 4 min left: linear probes, original (1,200 of 5,000)".
        """
        now = self._clock()
        head = ", ".join(filter(None, (self._place(), self._left(now))))
        what = self._part.stage or ("working" if self._step is None else str(self._step))
        text = what + self._part.count()
        return f"{head}: {text}" if head else text

    def age(self) -> str:
        """How long the run has gone on."""
        return f"{duration(self._clock() - self._start)} since the start"

    def _place(self) -> str:
        """The number of the step; empty for one that was not planned."""
        if self._step not in self._plan:
            return ""
        return f"step {self._plan.index(self._step) + 1} of {len(self._plan)}"

    def _left(self, now: float) -> str:
        """The time left in words; empty where nothing is known of it yet."""
        part = self._part.left(now)
        if self._step not in self._plan:
            return "" if part is None else f"about {duration(part)} left"
        later = self._plan[self._plan.index(self._step) + 1 :]
        if not self._over and later:
            return "" if part is None else f"about {duration(part)} for this step"
        seconds = self._expected(self._step) - (now - self._step_began) if self._over else 0.0
        if part is not None:
            seconds = part
        elif not self._over or (seconds <= 0 and not later):
            return ""
        return f"about {duration(max(seconds, 0.0) + sum(map(self._expected, later)))} left"

    def _expected(self, step: Step) -> float:
        """Seconds that a step should take, by those that are over."""
        alike = [one for one in self._over if one[0].work == step.work]
        known = alike or self._over
        spent, weight = sum(seconds for _, seconds in known), sum(one.weight for one, _ in known)
        return step.weight * spent / weight


@dataclass(frozen=True)
class _Part:
    """A part of a step as it was last reported, and since when it goes on.

    Attributes:
        stage: its name; empty before the first report.
        done: so much of `total`.
        total: None when unknown.
        first: what was done when its pace began to be measured.
        began: when that was.
    """

    stage: str
    done: int
    total: int | None
    first: int
    began: float

    def count(self) -> str:
        """How much is done, in brackets; that the total is unknown is said."""
        if self.total is not None:
            return f" ({self.done:,} of {self.total:,})" if self.total else ""
        return f" ({self.done:,} so far, of an unknown number)" if self.done else ""

    def left(self, now: float) -> float | None:
        """Seconds left at the pace so far; None without a pace, a known end, or a rest."""
        fresh, spent = self.done - self.first, now - self.began
        if self.total is None or self.done >= self.total or fresh <= 0 or spent <= 0:
            return None
        return (self.total - self.done) * spent / fresh
