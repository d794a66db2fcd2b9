"""Warnings of Python as the command line shows them: one short line, once each."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def short_warnings(say: Callable[[str], None]) -> Iterator[None]:
    """Show warnings of the block as `Warning: ...`, without the file that they were raised in.

    Args:
        say: prints a line.
    """
    told: set[str] = set()

    def show(message: Warning | str, *_place: Any, **_more: Any) -> None:
        text = " ".join(str(message).split())
        if text not in told:
            told.add(text)
            say(f"Warning: {text}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
