"""A file that says what the outputs of a model are called."""

from __future__ import annotations

import json
from pathlib import Path

from unspan.data.images import printable
from unspan.errors import DataError, UsageError


def read_class_names(path: Path) -> list[str]:
    """Class names in the order of a model's outputs, from a file: one a line, or JSON (a list, or
    an object of index to name or name to index).

    Raises:
        UsageError: no such file.
        DataError: not UTF-8, no names, a name twice, or indices with gaps.
    """
    shown = printable(str(path))
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UsageError(
            f"--classes {shown}: cannot read it ({reason}). Give a text file with a name a line."
        ) from None
    names = _from_json(text, shown) if text.lstrip()[:1] in ("[", "{") else _from_lines(text)
    twice = sorted({name for name in names if names.count(name) > 1}) if len(names) < 10**5 else []
    if not names or twice:
        problem = f"{printable(twice[0])!r} stands there twice" if twice else "no names in it"
        raise DataError(
            f"--classes {shown}: {problem}. Write one name a line, in the order of the outputs."
        )
    return names


def _from_lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _from_json(text: str, shown: str) -> list[str]:
    try:
        given = json.loads(text)
    except ValueError as error:
        raise DataError(f"--classes {shown}: damaged JSON ({error}).") from None
    if isinstance(given, dict):
        if all(isinstance(value, int) for value in given.values()):  # name to index
            given = {value: name for name, value in given.items()}
        try:
            by_index = {int(key): name for key, name in given.items()}
        except ValueError:
            by_index = {}
        if sorted(by_index) != list(range(len(by_index))):
            raise DataError(
                f"--classes {shown}: the indices are not 0 to {max(len(given) - 1, 0)}. Write one"
                " name for every output."
            )
        given = [by_index[index] for index in range(len(by_index))]
    if not all(isinstance(name, str) for name in given):
        raise DataError(f"--classes {shown}: a name is not text. Write names in quotes.")
    return list(given)
