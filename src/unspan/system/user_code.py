"""Import the user's own code for `python:` specs, and nothing else from the working directory.

A finder behind all others knows the folders of that code. It answers for what the user named, and
for what the code found there imports itself, now or later. For a library that looks for a package
it does not answer: a file `networkx.py` in the working directory is never taken for one.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

from unspan.errors import UnspanError, UsageError
from unspan.system.closest import meant

PREFIX = "python:"
_MACHINERY = (importlib.__file__, __file__)


class _UserCode(MetaPathFinder):
    """Finds the modules that the user named, and those beside them for their own use.

    Attributes:
        folders: where the user's code lies.
        named: top-level modules that the user named, with the file where one was given, else "".
    """

    def __init__(self) -> None:
        self.folders: list[str] = []
        self.named: dict[str, str] = {}
        self._roots: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the import system asks when no other finder knows a module."""
        if path is not None or not (fullname in self.named or self._asks()):
            return None
        return self.found(fullname, self.folders)

    def found(self, name: str, folders: Sequence[str]) -> ModuleSpec | None:
        """The module in one of the folders; from now on its code may import what lies there."""
        file = self.named.get(name)
        spec = spec_from_file_location(name, file) if file else PathFinder.find_spec(name, folders)
        if spec is not None:
            places = spec.submodule_search_locations
            self._roots.update([spec.origin or ""] if places is None else places)
        return spec

    def _asks(self) -> bool:
        """Whether the code that imports is the user's."""
        frame: Any = sys._getframe(2)
        while frame is not None and _is_machinery(frame.f_code.co_filename):
            frame = frame.f_back
        if frame is None:
            return False
        return self.owns(frame.f_code.co_filename)

    def owns(self, file: str) -> bool:
        """Whether a file belongs to the user's code."""
        return any(file == root or file.startswith(root + os.sep) for root in self._roots if root)


_FINDER = _UserCode()


class Known:
    """The user code that this process knows, for a worker process: unpickled before its objects."""

    def __reduce__(self) -> tuple[Any, ...]:
        return allow, (tuple(_FINDER.folders), dict(_FINDER.named))


def allow(folders: Sequence[str], named: Mapping[str, str]) -> None:
    """Find modules in these folders, as `_UserCode` says."""
    if _FINDER not in sys.meta_path:
        sys.meta_path.append(_FINDER)
    _FINDER.folders += [one for one in folders if one not in _FINDER.folders]
    _FINDER.named.update(named)


def import_user_module(name: str) -> ModuleType:
    """The module of a dotted name, or of a path that ends in `.py`.

    A dotted name is looked up in the working directory first, as users expect of their own code.
    """
    importlib.invalidate_caches()
    if name.endswith(".py"):
        return _from_file(Path(name).resolve())
    here = os.getcwd()
    top = name.partition(".")[0]
    allow([here], {top: ""})
    if top not in sys.modules and top not in sys.stdlib_module_names:
        spec = _FINDER.found(top, [here])
        if spec is not None and spec.loader is not None:
            _execute(spec)
    return importlib.import_module(name)


def user_object(spec: str, what: str) -> Any:
    """The object that `python:MODULE_OR_FILE:NAME` names.

    Args:
        spec: the whole of it.
        what: a class, a factory; for messages.

    Raises:
        UsageError: no such module, file or name, or code that fails when it is imported; says where
            in the user's code.
    """
    body = spec.removeprefix(PREFIX)
    module_name, _, attribute = body.rpartition(":")
    if not module_name or not attribute:
        place = body.strip(":") or "my_package.my_module"
        raise UsageError(f"'{spec}' names no {what}; write {PREFIX}{place}:{what.upper()}.")
    if module_name.endswith(".py") and not Path(module_name).is_file():
        raise UsageError(f"{spec}: there is no file {module_name} here; give its whole path.")
    try:
        module = import_user_module(module_name)
    except UnspanError:
        raise
    except Exception as error:
        raise UsageError(
            f"{spec} cannot be imported: {_told(error)}. Repair that module, or run from the"
            " folder it is in."
        ) from error
    try:
        return attrgetter(attribute)(module)
    except AttributeError:
        top = attribute.partition(".")[0]
        raise UsageError(
            f"{spec}: {module_name} has no {attribute}.{meant(top, vars(module))}"
        ) from None


def called(spec: str, factory: Callable[[], Any], hint: str = "") -> Any:
    """What a function of the user's code returns.

    Args:
        spec: that names it.
        factory: calls it.
        hint: what it should do, for the message.

    Raises:
        UsageError: it failed; says where in the user's code.
    """
    try:
        return factory()
    except UnspanError:
        raise
    except Exception as error:
        raise UsageError(f"{spec} failed when called: {_told(error)}.{hint}") from error


def place_of(error: BaseException) -> str:
    """Where in the user's code an error arose, for example "mine.py, line 12"; empty where the
    user's code had no part in it.
    """
    if isinstance(error, SyntaxError) and _FINDER.owns(error.filename or ""):
        return f"{Path(error.filename or '').name}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _FINDER.owns(frame.filename)]
    return f"{Path(own[-1].filename).name}, line {own[-1].lineno}" if own else ""


def _told(error: Exception) -> str:
    place = place_of(error)
    return f"{type(error).__name__}: {error}{f' ({place})' if place else ''}".removesuffix(".")


def _from_file(path: Path) -> ModuleType:
    name = "unspan_file_" + re.sub(r"\W", "_", path.stem)
    allow([str(path.parent)], {name: str(path)})
    sys.modules.pop(name, None)
    return importlib.import_module(name)


def _execute(spec: ModuleSpec) -> None:
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        if spec.loader is not None:
            spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(spec.name, None)
        raise


def _is_machinery(file: str) -> bool:
    return file.startswith("<frozen importlib") or file in _MACHINERY
