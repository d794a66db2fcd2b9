"""How numbers and foreign text are written: percent with interval and n, strange characters made
visible.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, overload

from unspan.metrics.score import share_interval
from unspan.report.words.parts import Part

SPACE = "\u00a0"  # keeps a number and its unit on one line
_KEPT = {"\u00a0", "\u202f"}
BETTER = {
    "lower": Part.LOWER.value,
    "higher": Part.HIGHER.value,
    "reference": Part.NEARER.value,
    "none": Part.DESCRIBES.value,
}


def literal(text: Any, limit: int | None = None) -> str:
    r"""One line of text with every invisible or direction-changing character written out.

    >>> literal("a\nb\u202ec")
    'a\\nb\\u202ec'
    >>> literal("long name", 5)
    'long…'
    """
    flat = "".join(
        c if c.isprintable() or c in _KEPT else c.encode("unicode_escape").decode()
        for c in str(text)
    )
    return flat if limit is None or len(flat) <= limit else flat[: limit - 1] + "…"


def number(value: Any) -> float | None:
    """A finite number, or None for anything else that a file may hold in its place."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def count(value: Any) -> int:
    """A number of samples, 0 when there is none."""
    found = number(value)
    return int(found) if found is not None and found > 0 else 0


def thousands(value: int) -> str:
    """A count for people.

    >>> thousands(1000)
    '1,000'
    """
    return f"{value:,}"


def percent(value: float, digits: int = 1) -> str:
    """A share as percent, without the sign of a negative zero."""
    return f"{_rounded(100 * value, digits)}{SPACE}%"


def _rounded(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text[1:] if text.startswith("-") and not text.strip("-0.") else text


@dataclass(frozen=True)
class Measured:
    """A value as people read it.

    Attributes:
        value: with its unit.
        interval: in brackets, empty when there is none.
        n: samples behind it, 0 when unknown.
    """

    value: str
    interval: str = ""
    n: int = 0

    @property
    def line(self) -> str:
        """Value, interval and n in one line."""
        return " ".join(filter(None, (self.value, self.interval))) + (
            f", n{SPACE}={SPACE}{thousands(self.n)}" if self.n else ""
        )


MISSING = Measured(Part.NOT_MEASURED.value)


def measured(
    value: Any,
    low: Any = None,
    high: Any = None,
    unit: Any = "share",
    n: Any = 0,
    *,
    hits: bool = True,
) -> Measured:
    """A measurement in words; a share of exactly 0 % or 100 % never stands without its interval.

    Args:
        value: number, or anything else for "not measured".
        low: lower end of the interval.
        high: upper end.
        unit: of a `Score`.
        n: samples behind it.
        hits: a share counts hits among n, so that an interval follows from n where none is given.

    >>> measured(0.0, n=1000).line.replace(SPACE, " ")
    '0.0 % [0.0, 0.4], n = 1,000'
    """
    at, start, end, size = number(value), number(low), number(high), count(n)
    if at is None:
        return MISSING
    if unit == "share":
        if (
            (start is None or end is None)
            and 0 <= at <= 1
            and _rounded(100 * at, 1) in ("0.0", "100.0")
        ):
            if not size or not hits:
                return Measured((Part.ALMOST_NONE if at < 0.5 else Part.ALMOST_ALL).value, n=size)
            start, end = share_interval(at * size, size)
        return Measured(percent(at), _interval(start, end, 100, 1), size)
    if unit == "AUC":
        return Measured(_rounded(at, 3), _interval(start, end, 1, 3), size)
    digits = {"bits": 2, "seconds": 1, "points": 1, "examples": 0}.get(str(unit), 3)
    return Measured(
        _rounded(at, digits)
        + ("" if unit in ("1", 1, None, "") else f"{SPACE}{literal(unit, 20)}"),
        _interval(start, end, 1, digits),
        size,
    )


def _interval(low: float | None, high: float | None, scale: float, digits: int) -> str:
    return (
        ""
        if low is None or high is None
        else f"[{_rounded(low * scale, digits)}, {_rounded(high * scale, digits)}]"
    )


def fraction(rho: Any, low: Any, high: Any) -> Measured:
    """The recoverable part in whole percent; what lies beyond 0 and 100 % is shown as these."""
    at, start, end = number(rho), number(low), number(high)
    if at is None:
        return Measured(Part.NOT_MEASURABLE.value)
    return Measured(percent(_inside(at), 0), _interval(_inside(start), _inside(end), 100, 0))


@overload
def _inside(value: float) -> float: ...
@overload
def _inside(value: None) -> None: ...
def _inside(value: float | None) -> float | None:
    return None if value is None else min(max(value, 0.0), 1.0)


def upper(text: str) -> str:
    """A sentence starts with a capital letter."""
    return text[:1].upper() + text[1:]


def joined(*parts: str) -> str:
    """Sentences in one line, each with its full stop; empty ones are left out.

    >>> joined("one thing", "", "another!")
    'One thing. Another!'
    """
    return " ".join(
        upper(part) if part.endswith((".", "!", "?", "…")) else f"{upper(part)}."
        for part in parts
        if part
    )
