"""What an erasure aims at, which decides what an audit must say for it to be met."""

from __future__ import annotations

from unspan.errors import UsageError
from unspan.system.text_enum import TextEnum


class Target(TextEnum):
    """What the erased model is meant to be."""

    SUPPRESS = "suppress"  # nobody reads more than in a model that never saw them; less is fine
    LIKE_RETRAINED = "like-retrained"  # no more and no less


def as_target(value: str) -> Target:
    """The target of that name.

    Raises:
        UsageError: there is none.
    """
    try:
        return Target(value)
    except ValueError as error:
        known = ", ".join(Target)
        raise UsageError(f"target={value!r} is not known: use {known}.") from error
