"""What an entry says, in a few words, for tables."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from unspan.ledger.chain import Entry, Kind

_SHORT = 12  # digits
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00")
ASKED = {"class": "by class", "samples": "of samples", "data": "of data"}


def sentence(entry: Entry) -> str:
    """What an entry says; that it was purged where nothing is left."""
    content = entry.content
    if content is None:
        return "purged"
    parts = [_SAYS[entry.kind](content)]
    if "note" in content:
        parts.append(content["note"])
    return "; ".join(one for one in parts if one)


def who(entry: Entry) -> str:
    """Whether a commitment of who asked is kept."""
    return "committed" if entry.content is not None and "who" in entry.content else ""


def request(kind: str, classes: Iterable[str], samples: int) -> str:
    """What was asked, for example `by class deer, 5,000 samples`."""
    names = ", ".join(classes)
    asked = ASKED.get(kind, kind) + (f" {names}" if names else "")
    return f"{asked}, {counted(samples, 'sample')}"


def counted(count: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "entry"), counted(1200, "entry")
    ('1 entry', '1,200 entries')
    """
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun.removesuffix('y')}ies" if noun.endswith("y") else f"{count:,} {noun}s"


def short(digest: str) -> str:
    """The first digits of a hash, which can be compared by eye."""
    digits = digest.removeprefix("sha256:")
    return digits[:_SHORT] + "…" if len(digits) > _SHORT else digits


def moment(time: str) -> str:
    """A time in UTC as people read it.

    >>> moment("2026-11-27T18:21:51+00:00")
    '2026-11-27 18:21'
    """
    return f"{time[:10]} {time[11:16]}" if _TIME.fullmatch(time) else time


def shown(text: str) -> str:
    """Text on one line, in which nothing is hidden: control and direction characters are spelled.

    >>> shown("a" + chr(10) + "b")
    'a U+000A b'
    """
    unseen = ("Cc", "Cf", "Cs", "Zl", "Zp")
    out = (f" U+{ord(c):04X} " if unicodedata.category(c) in unseen else c for c in text)
    return " ".join("".join(out).split())


def _deletion(content: Mapping[str, Any]) -> str:
    asked = request(content["request"], content["classes"], content["samples"])
    return f"{asked}, by {content['method']}"


def _audit(content: Mapping[str, Any]) -> str:
    return f"{content['verdict']}, {content['attacks']} attacks, {content['references']} references"


def _purge(content: Mapping[str, Any]) -> str:
    said = []
    if content["entries"]:
        said.append("content of " + _entries(content["entries"]))
    for one in content["private"]:
        left = "" if one["files"] else " (was gone already)"
        said.append(f"private folder of {short(one['seal'])}{left}")
    if "key" in content:
        said.append(f"key {short(content['key'])}")
    return ", ".join(said)


def _note(_content: Mapping[str, Any]) -> str:
    return ""


def _entries(numbers: list[int]) -> str:
    return ("entry " if len(numbers) == 1 else "entries ") + ", ".join(map(str, numbers))


_SAYS = {
    Kind.DELETION: _deletion,
    Kind.AUDIT: _audit,
    Kind.PURGE: _purge,
    Kind.NOTE: _note,
}
