"""Entries as rows of the file, and as JSON: every part is checked when it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from unspan.ledger.chain import Entry, Kind
from unspan.sealing.canonical import canonical

COLUMNS = ("number", "time", "kind", "keep_until", "digest", "before", "hash", "content")
_TYPES = {  # of what an entry says; all else is text
    **dict.fromkeys(("entries", "private", "classes"), list),
    **dict.fromkeys(("samples", "attacks", "references", "earlier"), int),
}
_NEEDED = {
    Kind.DELETION: {"salt", "seal", "request", "classes", "samples", "method", "created"},
    Kind.AUDIT: {"salt", "seal", "verdict", "attacks", "references", "created"},
    Kind.PURGE: {"entries", "private"},
    Kind.NOTE: {"salt"},
}


def row_of(entry: Entry) -> tuple[Any, ...]:
    """The columns of an entry."""
    content = None if entry.content is None else canonical(entry.content)
    return (
        entry.number,
        entry.time,
        entry.kind.value,
        entry.keep_until,
        entry.digest,
        entry.before,
        entry.hash,
        content,
    )


def entry_of(row: Sequence[Any]) -> Entry:
    """An entry from its columns, each of its type.

    Raises:
        ValueError: a column or the content is not what unspan writes.
        TypeError: one is of another type.
        KeyError: a list in the content lacks something.
        RecursionError: the content is nested too deep.
    """
    *plain, text = row
    content = None if text is None else json.loads(text)
    if content is not None and (not isinstance(content, dict) or canonical(content) != text):
        raise ValueError("its content is not in the form that unspan writes")
    return entry_from(dict(zip(COLUMNS, (*plain, content), strict=True)))


def entry_from(form: Mapping[str, Any]) -> Entry:
    """An entry from its JSON form. Errors are those of `entry_of`."""
    texts = [form[name] for name in COLUMNS[1:-1]]
    if type(form["number"]) is not int or any(type(one) is not str for one in texts):
        raise TypeError("a column is of another type")
    found = Entry(**{**form, "kind": Kind(form["kind"])})
    _check_content(found)
    return found


def _check_content(entry: Entry) -> None:
    """Refuse content that cannot be shown (TypeError, ValueError, KeyError)."""
    content = entry.content or {}
    if not isinstance(content, dict):
        raise TypeError("its content is no object")
    for name, value in content.items():
        if not isinstance(value, _TYPES.get(name, str)) or isinstance(value, bool):
            raise TypeError(f"{name} is of another type")
    listed = [*content.get("entries", ()), *(one["files"] for one in content.get("private", ()))]
    named = [*content.get("classes", ()), *(one["seal"] for one in content.get("private", ()))]
    if any(type(one) is not int for one in listed) or any(type(one) is not str for one in named):
        raise TypeError("a list in its content holds something else")
    needed = _NEEDED[entry.kind] | ({"key"} if "who" in content else set())
    if entry.content is not None and not needed <= content.keys():
        raise ValueError(f"it does not say {' and '.join(sorted(needed - content.keys()))}")
