"""Which methods there are: those of this library, those of other packages, and those in a file.

A package adds methods with an entry point of the group `unspan.methods`. One that is broken is
named in a warning and left out. A method can also be given as `python:MODULE_OR_FILE:CLASS`.
"""

from __future__ import annotations

import warnings
from dataclasses import is_dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points

from unspan.errors import UsageError
from unspan.methods.base import NEEDS, EraserMethod, Method, TrainedMethod
from unspan.methods.builtin import METHODS
from unspan.system.closest import meant
from unspan.system.user_code import PREFIX, called, user_object

GROUP = "unspan.methods"
_BUILT_IN = {method.name: method for method in METHODS}


def registered() -> tuple[type[Method], ...]:
    """All methods: the built-in ones, then those of other packages by name."""
    return (*METHODS, *_of_packages())


def by_name(name: str) -> type[Method]:
    """The method class of a name, or of `python:MODULE_OR_FILE:CLASS`.

    A specification of the second form imports and runs the code that it names. It may also name a
    function without arguments that returns the class.

    Raises:
        UsageError: unknown, which lists the names; or code that gives no method, or one that has
            the name of a method of this library.
    """
    if name.startswith(PREFIX):
        return _from_code(name)
    for method in METHODS:
        if method.name == name:
            return method
    known = registered()
    for method in known:
        if method.name == name:
            return method
    names = [method.name for method in known]
    raise UsageError(f"Unknown method '{name}'.{meant(name, names)} Methods: {', '.join(names)}.")


def checked(found: object, origin: str) -> type[Method]:
    """The class, where it is a usable method.

    Args:
        found: what was given as a method.
        origin: where it comes from, for the message.

    Raises:
        UsageError: it is no method class, has no name, no settings or unknown needs.
    """
    if not isinstance(found, type) or not issubclass(found, (EraserMethod, TrainedMethod)):
        raise UsageError(
            f"{origin} is {found!r}; give a class that derives from unspan.methods.EraserMethod or"
            " TrainedMethod."
        )
    if not is_dataclass(found):
        raise UsageError(f"{origin}: {found.__name__} must be a frozen dataclass of its settings.")
    if not isinstance(vars(found).get("name"), str):
        raise UsageError(f"{origin}: {found.__name__} needs a name of its own, a class variable.")
    try:
        needs = found().needs
    except TypeError as error:
        raise UsageError(
            f"{origin}: {found.__name__}() fails ({error}). Give every setting a default, and"
            " define needs and fit or unlearn."
        ) from error
    if not needs <= NEEDS:
        raise UsageError(
            f"{origin}: {found.__name__}.needs has {', '.join(sorted(needs - NEEDS))}; use"
            f" {', '.join(sorted(NEEDS))}."
        )
    return found


@lru_cache
def _of_packages() -> tuple[type[Method], ...]:
    """Methods of entry points by name; a broken one, or a name that is taken, is a warning."""
    found: dict[str, type[Method]] = {}
    taken = _BUILT_IN.copy()
    for point in sorted(entry_points(group=GROUP), key=lambda one: (one.name, one.value)):
        try:
            method = checked(point.load(), point.value)
        except Exception as error:  # of any kind: it is not our code
            _warn(point, f"{type(error).__name__}: {error}")
            continue
        if method.name in taken:
            _warn(point, _same_name(method, taken[method.name]))
            continue
        taken[method.name] = method
        found[method.name] = method
    return tuple(found[name] for name in sorted(found))


def _warn(point: EntryPoint, why: str) -> None:
    package = "" if point.dist is None else f" of package {point.dist.name}"
    warnings.warn(
        f"Method '{point.name}'{package} ({point.value}) was left out: {why}",
        UserWarning,
        stacklevel=2,
    )


def _from_code(spec: str) -> type[Method]:
    """The method class of `python:MODULE_OR_FILE:CLASS`."""
    found = user_object(spec, "class")
    if not isinstance(found, type) and callable(found):
        found = called(spec, found)
    method = checked(found, spec)
    own = _BUILT_IN.get(method.name, method)
    if own is not method:
        raise UsageError(f"{spec}: {_same_name(method, own)}")
    return method


def _same_name(method: type[Method], other: type[Method]) -> str:
    """That a method has the name of another one, with both classes, and what to do."""
    return (
        f"there is a method '{method.name}' already, {other.__module__}.{other.__qualname__}; give"
        f" {method.__qualname__} another name (its class variable `name`)."
    )
