"""Instances of methods from names and values of their settings, those of the training loop among
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from typing import Any

from unspan.errors import UsageError


def configured(kind: Any, values: Mapping[str, Any], said: Mapping[str, str] | None = None) -> Any:
    """An instance of a method class.

    Args:
        kind: from the catalogue.
        values: by name; those of the training loop go to `training`.
        said: how the user wrote a name, for messages.

    Raises:
        UsageError: a setting that the method does not have, or a value it does not take.
    """
    own = {field.name for field in fields(kind)} - {"training"}
    loop = next((field.default for field in fields(kind) if field.name == "training"), MISSING)
    of_loop = set() if loop is MISSING else {field.name for field in fields(loop)}
    for name in values:
        if name not in own | of_loop:
            known = ", ".join(sorted(own | of_loop)) or "none"
            raise UsageError(
                f"{(said or {}).get(name, name)} does not belong to method {kind.name}; its"
                f" settings: {known}. See unspan methods {kind.name}."
            )
    arguments = {name: value for name, value in values.items() if name in own}
    try:
        if loop is not MISSING:
            arguments["training"] = replace(
                loop, **{name: value for name, value in values.items() if name not in own}
            )
        return kind(**arguments)
    except TypeError as error:
        raise UsageError(
            f"Method {kind.name}: a setting has a value of the wrong kind ({error}). See unspan"
            f" methods {kind.name}."
        ) from error


def listed(kind: Any) -> list[tuple[str, Any]]:
    """Names and default values of a method's settings, those of its training loop after its own."""
    own = [(field.name, field.default) for field in fields(kind) if field.name != "training"]
    loop: Any = next((field.default for field in fields(kind) if field.name == "training"), None)
    return own + (
        [] if loop is None else [(field.name, getattr(loop, field.name)) for field in fields(loop)]
    )
