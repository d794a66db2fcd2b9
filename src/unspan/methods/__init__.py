"""The catalogue: one file per method, listed here by hand. A third party passes its own object instead."""

from __future__ import annotations

from typing import Protocol

from unspan.errors import UsageError
from unspan.methods.esc import ESC, Fit
from unspan.methods.esc_t import ESCT
from unspan.stream import FeatureStream

METHODS: tuple[type[ESC] | type[ESCT], ...] = (ESC, ESCT)

__all__ = ["ESC", "ESCT", "METHODS", "Fit", "Method", "by_name"]


class Method(Protocol):
    """A feature-erasing method: frozen settings with `fit`."""

    @property
    def name(self) -> str:
        """Name on the command line and in receipts."""

    def check(self, dim: int) -> None:
        """Refuse impossible settings before data is read."""

    def fit(self, stream: FeatureStream) -> Fit:
        """Read the stream, return the eraser."""


def by_name(name: str) -> type[ESC] | type[ESCT]:
    """The method class of a command-line name.

    Raises:
        UsageError: unknown; lists the names.
    """
    for method in METHODS:
        if method.name == name:
            return method
    raise UsageError(f"Unknown method '{name}'. Methods: {', '.join(method.name for method in METHODS)}.")
