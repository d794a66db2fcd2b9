"""Instances of methods from names and values of their settings, those of the training loop among
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from unspan.errors import UsageError
from unspan.methods.base import Method
from unspan.methods.setting_kinds import example, fits, kinds_of, worded, written
from unspan.system.closest import meant
from unspan.training.settings import Training


def configured(
    kind: type[Method], values: Mapping[str, Any], said: Mapping[str, str] | None = None
) -> Any:
    """An instance of a method class with these settings.

    Args:
        kind: the method class.
        values: by name; those of the training loop go to `training`.
        said: how the user wrote a name, for messages.

    Raises:
        UsageError: a setting that the method does not have, or a value it does not take.
    """
    own = _own(kind)
    loop = _loop(kind)
    of_loop = set() if loop is None else {field.name for field in fields(loop)}
    for name in values:
        if name not in own.keys() | of_loop:
            known = sorted(own.keys() | of_loop)
            raise UsageError(
                f"{(said or {}).get(name, name)} does not belong to method {kind.name}; its"
                f" settings: {', '.join(known) or 'none'}.{meant(name, known)} See unspan methods"
                f" {kind.name}."
            )
    values = _checked(kind, values, said or {})
    arguments = {name: value for name, value in values.items() if name in own}
    try:
        if loop is not None:
            trained = {name: value for name, value in values.items() if name not in own}
            arguments["training"] = replace(loop, **trained)
        return kind(**arguments)
    except TypeError as error:
        raise UsageError(
            f"Method {kind.name}: a setting has a value of the wrong kind ({error}). See unspan"
            f" methods {kind.name}."
        ) from error


def check_kinds(method: Method) -> None:
    """Refuse an instance that was made with a value of the wrong kind (UsageError)."""
    _checked(type(method), settings_of(method), {})


def _checked(
    method: type[Method], values: Mapping[str, Any], said: Mapping[str, str]
) -> dict[str, Any]:
    """The values, lists as tuples, where each is of the kind that its setting takes."""
    loop = _loop(method)
    kinds = ({} if loop is None else kinds_of(type(loop))) | kinds_of(method)
    values = {name: _none_or_text(value, kinds.get(name)) for name, value in values.items()}
    for name, value in values.items():
        if name in kinds and not fits(value, kinds[name]):
            candidates = [dict(listed(method)).get(name), *method.search.get(name, ())]
            shown = example(kinds[name], candidates)
            raise UsageError(
                f"{_assigned(name, value, said)}: method {method.name} takes"
                f" {worded(kinds[name])} for {name}; write for example"
                f" {_assigned(name, shown, said)}. See unspan methods {method.name}."
            )
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }


def _none_or_text(value: Any, kind: Any) -> Any:
    """The text `none` where a setting has it among its choices, and None was read of it."""
    return "none" if value is None and not fits(None, kind) and fits("none", kind) else value


def _assigned(name: str, value: Any, said: Mapping[str, str]) -> str:
    """A setting with a value as the user writes it: `--set k=3`, `--lr 0.1`, or `k=3` in Python."""
    option = said.get(name)
    if option is None:
        return f"{name}={value!r}"
    return f"{option}={written(value)}" if " " in option else f"{option} {written(value)}"


def listed(kind: type[Method]) -> list[tuple[str, Any]]:
    """Names and default values of a method's settings, those of its training loop after its own."""
    loop = _loop(kind)
    return [*_own(kind).items(), *({} if loop is None else _values(loop)).items()]


def settings_of(method: Method) -> dict[str, Any]:
    """The settings of a method and of its training loop, by name."""
    own = {name: value for name, value in _values(method).items() if name != "training"}
    return own | ({} if method.training is None else _values(method.training))


def _own(kind: type[Method]) -> dict[str, Any]:
    return {one.name: one.default for one in fields(_dataclass(kind)) if one.name != "training"}


def _loop(kind: type[Method]) -> Training | None:
    """Default settings of the training loop, where they are among the settings of the method."""
    for one in fields(_dataclass(kind)):
        if one.name == "training" and isinstance(one.default, Training):
            return one.default
    return None


def _dataclass(kind: type[Method]) -> Any:
    return kind  # methods are dataclasses, which a base class cannot say


def _values(settings: Any) -> dict[str, Any]:
    return {one.name: getattr(settings, one.name) for one in fields(settings)}
