"""Settings of a method from the command line: named options and `--set NAME=VALUE`."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from typing import Any

from unspan.errors import UsageError


def configured(kind: Any, given: Mapping[str, Any], pairs: list[str] | None = None) -> Any:
    """An instance of a method class.

    Args:
        kind: from the catalogue.
        given: values of named options; None and False mean not given.
        pairs: `NAME=VALUE` texts.

    Raises:
        UsageError: a setting that the method does not have, or a value it does not take.
    """
    values = {name: (value, f"--{name}") for name, value in given.items() if value not in (None, False)}
    for pair in pairs or []:
        name, equals, text = pair.partition("=")
        if not equals:
            raise UsageError(f"--set {pair}: write NAME=VALUE, for example --set epochs=3.")
        values[name.strip().replace("-", "_")] = (_value(text.strip()), f"--set {name.strip()}")
    own = {field.name for field in fields(kind)}
    loop = next((field.default for field in fields(kind) if field.name == "training"), MISSING)
    of_loop = set() if loop is MISSING else {field.name for field in fields(loop)}
    for name, (_, option) in values.items():
        if name not in own | of_loop or name == "training":
            known = ", ".join(sorted((own | of_loop) - {"training"})) or "none"
            raise UsageError(f"{option} does not belong to method {kind.name}; its settings: {known}. See unspan methods {kind.name}.")
    arguments = {name: value for name, (value, _) in values.items() if name in own}
    if loop is not MISSING:
        arguments["training"] = replace(loop, **{name: value for name, (value, _) in values.items() if name not in own})
    try:
        return kind(**arguments)
    except TypeError as error:
        raise UsageError(f"Method {kind.name}: a setting has a value of the wrong kind ({error}). See unspan methods {kind.name}.") from error


def listed(kind: Any) -> list[tuple[str, Any]]:
    """Names and default values of a method's settings, those of its training loop after its own."""
    own = [(field.name, field.default) for field in fields(kind) if field.name != "training"]
    loop = next((field.default for field in fields(kind) if field.name == "training"), None)
    return own + ([] if loop is None else [(field.name, getattr(loop, field.name)) for field in fields(loop)])


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
