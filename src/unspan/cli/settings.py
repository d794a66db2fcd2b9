"""Settings of a method from the command line: named options and `--set NAME=VALUE`."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from unspan.errors import UsageError


def settings(
    given: Mapping[str, Any], pairs: list[str] | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """Values by name, and how each was written.

    Args:
        given: values of named options; None and False mean not given.
        pairs: `NAME=VALUE` texts.

    Raises:
        UsageError: a text without a value.
    """
    values = {
        name: value for name, value in given.items() if value is not None and value is not False
    }
    said = {name: f"--{name}" for name in values}
    for pair in pairs or []:
        name, equals, text = pair.partition("=")
        if not equals:
            raise UsageError(f"--set {pair}: write NAME=VALUE, for example --set epochs=3.")
        key = name.strip().replace("-", "_")
        values[key], said[key] = _value(text.strip()), f"--set {name.strip()}"
    return values, said


def _value(text: str) -> Any:
    """A number, tuple, True, False or None; anything else is text.

    >>> _value("1e-3"), _value("true"), _value("epoch")
    (0.001, True, 'epoch')
    """
    if text.lower() in ("true", "false", "none"):
        return {"true": True, "false": False, "none": None}[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
