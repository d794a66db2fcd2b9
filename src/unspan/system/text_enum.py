"""Enums whose members print as their value."""

from __future__ import annotations

from enum import Enum


class TextEnum(str, Enum):
    """A member whose text is its value, in JSON and in print, on every version of Python.

    >>> class Colour(TextEnum):
    ...     RED = "red"
    >>> f"{Colour.RED} {Colour.RED!s} {Colour.RED == 'red'}"
    'red red True'
    """

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(str(self.value), spec)
