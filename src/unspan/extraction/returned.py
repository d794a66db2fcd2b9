"""Every tensor that a model returns: where it stands in the output, and how to change it there."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from torch import Tensor

Path = tuple["str | int", ...]


def tensors_in(output: Any) -> list[tuple[Path, Tensor]]:
    """Floating tensors of a model output, with the keys that lead to them.

    `()` is the output itself. Tuples, lists, dicts and dataclasses are searched.
    """
    if isinstance(output, Tensor):
        return [((), output)] if output.is_floating_point() else []
    found: list[tuple[Path, Tensor]] = []
    for key, value in _parts(output):
        found += [((key, *path), tensor) for path, tensor in tensors_in(value)]
    return found


def shown(path: Path) -> str:
    """The path as a user would write it, `output[1]` say."""
    return "output" + "".join(f"[{key!r}]" for key in path)


def changed_at(output: Any, path: Path, change: Callable[[Tensor], Tensor]) -> Any:
    """The output with the tensor at a path changed; containers are copied, not altered."""
    if not path:
        return change(output)
    key, rest = path[0], path[1:]
    if isinstance(output, Mapping):
        made: Any = copy.copy(output)
        made[key] = changed_at(output[key], rest, change)
        return made
    if isinstance(output, (tuple, list)):
        values = list(output)
        values[int(key)] = changed_at(values[int(key)], rest, change)
        named = hasattr(output, "_fields")  # a named tuple takes its values one by one
        return type(output)(*values) if named else type(output)(values)
    return replace(output, **{str(key): changed_at(getattr(output, str(key)), rest, change)})


def _parts(output: Any) -> list[tuple[str | int, Any]]:
    if isinstance(output, Mapping):
        return [(key, value) for key, value in output.items() if isinstance(key, (str, int))]
    if isinstance(output, (tuple, list)):
        return list(enumerate(output))
    if is_dataclass(output) and not isinstance(output, type):
        return [(one.name, getattr(output, one.name)) for one in fields(output)]
    return []
