"""What a mistyped name was meant to be."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def closest(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The known names that look most like this one, whatever their case; the nearest first.

    >>> closest("Dear", ["deer", "horse", "DEER"])
    ['deer', 'DEER']
    """
    spelt: dict[str, list[str]] = {}
    for one in known:
        spelt.setdefault(one.casefold(), []).append(one)
    found = get_close_matches(name.casefold(), spelt, n=most)
    return [one for key in found for one in spelt[key]][:most]


def meant(name: str, known: Iterable[str]) -> str:
    """A question to put into an error message, with a space before it; empty without a match.

    >>> meant("ersae", ["erase", "audit"]), meant("x", ["erase"])
    (' Did you mean erase?', '')
    """
    found = closest(name, known)
    return f" Did you mean {' or '.join(found)}?" if found else ""
