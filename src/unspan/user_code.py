"""Import the user's own code for `python:` specs, and nothing else from the working directory.

The working directory is searched last and only while the named code is imported or called. A file
there that is called like a package, `networkx.py` say, is never taken for that package later.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType


def import_user_module(name: str) -> ModuleType:
    """The module of a dotted name, or of a path that ends in `.py`.

    A dotted name is looked up in the working directory first, as users expect of their own code.
    """
    if name.endswith(".py"):
        return _from_file(Path(name))
    top = name.partition(".")[0]
    if top not in sys.modules and top not in sys.stdlib_module_names:
        spec = PathFinder.find_spec(top, [os.getcwd()])
        if spec is not None and spec.loader is not None:
            module = importlib.util.module_from_spec(spec)
            sys.modules[top] = module
            with user_path(os.getcwd()):
                try:
                    spec.loader.exec_module(module)
                except BaseException:
                    sys.modules.pop(top, None)
                    raise
    with user_path(os.getcwd()):
        return importlib.import_module(name)


@contextmanager
def user_path(folder: str) -> Iterator[None]:
    """Search a folder behind everything that is installed, for as long as user code runs."""
    added = folder not in sys.path
    if added:
        sys.path.append(folder)
    try:
        yield
    finally:
        if added and folder in sys.path:
            sys.path.remove(folder)


def _from_file(path: Path) -> ModuleType:
    loader = SourceFileLoader(f"unspan_file_{path.stem}", str(path))
    module = ModuleType(loader.name)
    module.__file__ = str(path)
    sys.modules[loader.name] = module
    with user_path(str(path.resolve().parent)):
        loader.exec_module(module)
    return module
