"""How measured values look in README and docs."""

from __future__ import annotations

import statistics
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def shown(values: tuple[float, ...]) -> str:
    """Mean and standard deviation over keys or seeds, in percent."""
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread} %"


def unbroken(value: str) -> str:
    """The value with spaces at which no line of a narrow table breaks."""
    return value.replace(" ", "\u00a0")
