"""How far a command is: bars on a terminal, a line now and then in a log file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from unspan.system.durations import duration

EVERY = 30.0  # seconds between two lines in a log file
Report = Callable[[str, int, "int | None"], None]


@contextmanager
def progress(out: Console) -> Iterator[Report]:
    """A bar per stage with count, rate and time left; lines where the output is no terminal."""
    if out.quiet:
        yield _nothing
        return
    if not out.is_terminal:
        with heartbeat(out) as report:
            yield report
        return
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(),
        console=out,
        transient=True,
    )
    stages: dict[str, TaskID] = {}

    def show(stage: str, done: int, total: int | None) -> None:
        if stage not in stages:
            stages[stage] = bar.add_task(stage, total=total, rate="")
        speed = bar.tasks[stages[stage]].speed
        bar.update(
            stages[stage], completed=done, total=total, rate=f"{speed:.0f}/s" if speed else ""
        )

    with bar:
        yield show


@contextmanager
def line(out: Console) -> Iterator[Report]:
    """One line that changes, for work with many stages; lines where the output is no terminal."""
    if out.quiet:
        yield _nothing
        return
    if not out.is_terminal:
        with heartbeat(out) as report:
            yield report
        return
    with out.status("") as shown:
        yield lambda stage, done, total: shown.update(
            Text(f"{stage}" + (f" ({done}/{total})" if total else ""))
        )


@contextmanager
def heartbeat(out: Console, every: float | None = None) -> Iterator[Report]:
    """A line every 30 seconds with the stage, how much is done, and the time left.

    Args:
        out: where lines go.
        every: seconds between two lines; `EVERY` by default.
    """
    pace, ended = Pace(), threading.Event()

    def beat() -> None:
        while not ended.wait(EVERY if every is None else every):
            out.print(pace.words(), markup=False)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield pace.note
    finally:
        ended.set()
        thread.join()


class Pace:
    """What was last reported, and how fast its stage goes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._begun = self._stage_begun = clock()
        self._stage, self._done, self._first = "", 0, 0
        self._total: int | None = None

    def note(self, stage: str, done: int, total: int | None) -> None:
        """Take down a report; a new stage, or one that starts over, has a pace of its own."""
        if stage != self._stage or done < self._done:
            self._stage, self._stage_begun, self._first = stage, self._clock(), done
        self._done, self._total = done, total

    def words(self) -> str:
        """The line of a log file."""
        now = self._clock()
        since = f"{duration(now - self._begun)} since the start"
        if not self._stage:
            return f"working, {since}"
        count = str(self._done) if self._total is None else f"{self._done} of {self._total}"
        return f"{self._stage}: {count} done{self._left(now)}, {since}"

    def _left(self, now: float) -> str:
        fresh, spent = self._done - self._first, now - self._stage_begun
        if self._total is None or fresh <= 0 or spent <= 0:
            return ""
        seconds = (self._total - self._done) * spent / fresh
        return f", about {duration(seconds)} left of this stage"


def _nothing(stage: str, done: int, total: int | None) -> None:
    """Show nothing."""
