"""Whom a deletion is to hold against, from the weakest to the strongest."""

from __future__ import annotations

from unspan.errors import UsageError
from unspan.system.text_enum import TextEnum


class Against(TextEnum):
    """What somebody has who looks for what was erased; each has what those before have as well.

    >>> Against.FEATURES.covers(Against.OUTPUTS), Against.FEATURES.covers(Against.QUERIES)
    (True, False)
    """

    OUTPUTS = "outputs"  # one answer of the model to each unaltered input
    FEATURES = "features"  # its features too
    QUERIES = "queries"  # answers and features of any number of altered copies of an input
    WEIGHTS = "weights"  # the weights

    def covers(self, other: Against) -> bool:
        """Whether what holds against this one holds against the other."""
        order = list(Against)
        return order.index(self) >= order.index(other)


def as_against(value: str) -> Against:
    """The one of that name.

    Raises:
        UsageError: there is none.
    """
    try:
        return Against(value)
    except ValueError as error:
        known = ", ".join(Against)
        raise UsageError(f"against={value!r} is not known: use {known}.") from error
