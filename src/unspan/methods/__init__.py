"""The catalogue: one file per method, listed here by hand. A third party passes its own object instead."""

from unspan.errors import UsageError
from unspan.methods.esc import ESC, Fit
from unspan.methods.esc_t import ESCT

METHODS: tuple[type[ESC] | type[ESCT], ...] = (ESC, ESCT)

__all__ = ["ESC", "ESCT", "METHODS", "Fit", "by_name"]


def by_name(name: str) -> type[ESC] | type[ESCT]:
    """The method class of a command-line name.

    Raises:
        UsageError: unknown; lists the names.
    """
    for method in METHODS:
        if method.name == name:
            return method
    raise UsageError(f"Unknown method '{name}'. Methods: {', '.join(method.name for method in METHODS)}.")
