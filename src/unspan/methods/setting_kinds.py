"""What kind of value each setting of a method takes: read from the annotations of its dataclass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_EXAMPLES = {int: 1, float: 0.5, bool: True, str: "text"}
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_SEVERAL = {int: "whole numbers", float: "numbers", bool: "true or false", str: "texts"}


def kinds_of(settings: type) -> dict[str, Any]:
    """Annotations by name; none where they name what only a type checker knows."""
    try:
        return get_type_hints(settings)
    except NameError:
        return {}


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is of the kind; any is of a kind that is none of those named here.

    >>> fits(1.5, int), fits(3, float), fits(True, int), fits([1, 2], tuple[int, ...])
    (False, True, False, True)
    """
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in parts)
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in parts)
    if origin is tuple:
        return isinstance(value, (tuple, list)) and _fit(value, parts)
    if kind is type(None):
        return value is None
    if kind is bool or kind is str:
        return isinstance(value, kind)
    if kind is int or kind is float:
        wanted = Integral if kind is int else Real
        return isinstance(value, wanted) and not isinstance(value, bool) and not _is_nan(value)
    return True


def _fit(values: Sequence[Any], parts: tuple[Any, ...]) -> bool:
    if parts[-1] is Ellipsis:
        return all(fits(one, parts[0]) for one in values)
    return len(values) == len(parts) and all(map(fits, values, parts))


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def worded(kind: Any) -> str:
    """The kind in words.

    >>> worded(int | None), worded(Literal["a", "b"]), worded(tuple[int, ...])
    ('a whole number, or none', 'a or b', 'whole numbers with commas between them')
    """
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(map(str, parts))
    if origin in (Union, UnionType):
        said = " or ".join(worded(one) for one in parts if one is not type(None))
        return f"{said}, or none" if type(None) in parts else said
    if origin is tuple:
        count = "" if parts[-1] is Ellipsis else f"{len(parts)} "
        return f"{count}{_SEVERAL.get(parts[0], 'values')} with commas between them"
    return _WORDS.get(kind, str(kind))


def written(value: Any) -> str:
    """A value as `--set` takes it.

    >>> written((2, 4)), written((2,)), written(None), written(0.5)
    ('2,4', '2,', 'none', '0.5')
    """
    if isinstance(value, (tuple, list)):
        return ",".join(map(written, value)) + ("," if len(value) == 1 else "")
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value)


def example(kind: Any, candidates: Sequence[Any]) -> Any:
    """A value to show: the first candidate that fits and is not empty, else one of the kind."""
    for one in candidates:
        if one not in (None, ()) and fits(one, kind):
            return one
    parts = [one for one in get_args(kind) if one not in (type(None), Ellipsis)]
    if get_origin(kind) is Literal:
        return parts[0]
    if get_origin(kind) is tuple:
        return tuple(example(one, ()) for one in (parts * 2 if len(parts) == 1 else parts))
    return example(parts[0], ()) if parts else _EXAMPLES.get(kind)
