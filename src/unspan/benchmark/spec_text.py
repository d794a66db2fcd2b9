"""The text of a spec: reading TOML, and what every key may hold."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unspan.benchmark.views import VIEWS
from unspan.errors import UsageError
from unspan.methods.registry import PREFIX, registered
from unspan.system.closest import meant

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NETWORKS = ("original", "retrain")  # rows that no method makes: trained with the recipe of the pair
PICTURES = ("gradcam", "tsne")
_TABLE = "a table ({ ... })"
_TEXT = "a text"
KINDS: dict[str, dict[str, str]] = {  # what a key holds
    "file": {
        "title": _TEXT,
        "view": "a list of views",
        "paper": _TEXT,
        "note": _TEXT,
        "base": _TEXT,
        "only": "a list of methods",
        "pair": "tables ([[pair]])",
        "method": "tables ([[method]])",
        "budget": _TABLE,
        "holdout": "a share in [0, 1)",
        "pictures": "a list of gradcam, tsne",
        "seeds": "a list of different whole numbers >= 0",
    },
    "pair": {"data": _TEXT, "model": _TEXT, "name": _TEXT, "request": _TABLE, "train": _TABLE},
    "method": {
        "name": _TEXT,
        "label": _TEXT,
        "set": _TABLE,
        "paper": _TEXT,
        "tune": "true or false",
    },
    "budget": {
        "pair": _TABLE,
        "retain": "a whole number > 0",
        "trials": "a whole number >= 0",
        "tune_retain": "a whole number > 0",
        "seeds": "a list of different whole numbers >= 0",
        "networks": "a list of different whole numbers >= 0",
        "once": "a list of methods",
        "skip": "a list of methods",
        "train": _TABLE,
        "set": "a table of tables",
    },
}


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read as TOML: {error}") from error


def header_lines(path: Path, name: str) -> list[int]:
    """Return the numbers of the lines `[[name]]` of a TOML file, counted from 1.

    A method in another form, as an inline table, has no such line.
    """
    header = re.compile(rf"\s*\[\[\s*{name}\s*\]\]")
    lines = path.read_text("utf-8").splitlines()
    return [number for number, line in enumerate(lines, 1) if header.match(line)]


def budget_place(path: Path, name: str) -> str:
    """Where a budget of a spec stands, for messages; without a line where it is of another file."""
    section = ""
    found = ""
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        text = "".join(line.split())
        if text.startswith("["):
            section = text.partition("#")[0].strip("[]")
            whole = section
        else:
            whole = f"{section}." * bool(section) + text.partition("=")[0]
        if f"{whole}.".startswith(f"budget.{name}."):
            found = f", line {number}"
            break
    return f"budget {name} of {path.name}{found}"


def checked_request(request: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a request of a pair.

    Raises:
        UsageError: not one of the four forms.
    """
    forms = (
        "classes = [4], share = 0.1 (between 0 and 1), benchmark = true, or steps = [[4], [0]];"
        " classes are numbers, each named once"
    )
    kind, value = next(iter(request.items()), ("", None))
    lists = {"classes": [value], "steps": value}.get(kind)
    good = {"share": isinstance(value, float) and 0 < value < 1, "benchmark": value is True}.get(
        kind, False
    )
    if isinstance(lists, list) and lists and all(isinstance(step, list) and step for step in lists):
        named = [one for step in lists for one in step]
        good = all(
            isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in named
        ) and len(set(named)) == len(named)
    if len(request) != 1 or not good:
        raise UsageError(f"{where}: a request is one of {forms}; got {dict(request)}.")
    return {kind: value}


def check_keys(found: Mapping[str, Any], what: str, where: str) -> None:
    """Refuse unknown keys, and values of the wrong kind.

    Args:
        found: a part of a spec.
        what: `file`, `pair`, `method` or `budget`.
        where: for messages.
    """
    kinds = KINDS[what]
    for key, value in found.items():
        if key not in kinds:
            raise UsageError(
                f"{where}: unknown key '{key}'.{meant(key, kinds)} Known:"
                f" {', '.join(sorted(kinds))}."
            )
        if kinds[key].startswith("tables") and isinstance(value, dict):
            raise UsageError(f"{where}: write [[{key}]], with two brackets, in place of [{key}].")
        if not _fits(kinds[key], value):
            raise UsageError(
                f"{where}: {key} = {value!r} must be {kinds[key]}.{_culprit(kinds[key], value)}"
            )


def _fits(kind: str, value: Any) -> bool:
    if kind.startswith("tables"):
        return isinstance(value, list) and all(isinstance(one, dict) for one in value)
    if kind == "a table of tables":
        return isinstance(value, dict) and all(isinstance(one, dict) for one in value.values())
    if kind.startswith("a whole number"):
        return (
            isinstance(value, int)
            and not isinstance(value, bool)
            and value >= int(">=" not in kind)
        )
    if kind.startswith("a share"):
        return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1
    if kind.startswith("a list of different"):
        return (
            isinstance(value, list)
            and bool(value)
            and all(
                isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in value
            )
            and len(set(value)) == len(value)
        )
    if kind.startswith("a list"):
        return isinstance(value, list) and not _unknown(kind, value)
    return isinstance(value, {_TABLE: dict, _TEXT: str, "true or false": bool}[kind])


def _allowed(kind: str) -> tuple[str, ...]:
    """What may stand in a list of names."""
    return {
        "a list of gradcam, tsne": PICTURES,
        "a list of views": VIEWS,
        "a list of methods": tuple(
            dict.fromkeys((*NETWORKS, *(method.name for method in registered())))
        ),
    }[kind]


def _unknown(kind: str, values: Sequence[Any]) -> list[Any]:
    """The values that may not stand in a list of names."""
    allowed, is_open = _allowed(kind), kind == "a list of methods"
    return [
        one
        for one in values
        if one not in allowed and not (is_open and str(one).startswith(PREFIX))
    ]


def _culprit(kind: str, value: Any) -> str:
    """Which value of a list of names is none, what it was meant to be, and what there is."""
    if not kind.startswith("a list of") or "numbers" in kind or not isinstance(value, list):
        return ""
    wrong, allowed = _unknown(kind, value)[0], _allowed(kind)
    return f" {wrong!r} is none.{meant(str(wrong), allowed)} Known: {', '.join(allowed)}."
