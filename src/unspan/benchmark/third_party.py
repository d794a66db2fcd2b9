"""Methods of other packages and files in a benchmark: what names them, and which code they are.

A result is known by the code of its method, not by the folder it lies in. A file that changed is
another method, and the same file elsewhere is the same. Methods of unspan count their revisions.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from pathlib import Path, PurePath

from unspan.benchmark.spec_text import NETWORKS
from unspan.methods import by_name
from unspan.methods.registry import PREFIX
from unspan.system.user_code import import_user_module

_OWN = "unspan"
_INSTALLED = ("site-packages", "dist-packages")


def short_name(method: str) -> str:
    """The name of a method without the folders of this machine.

    >>> short_name("python:/home/me/mine.py:Mine"), short_name("python:lab.erasers:Mine")
    ('python:mine.py:Mine', 'python:lab.erasers:Mine')
    """
    module, _, attribute = method.removeprefix(PREFIX).rpartition(":")
    if not method.startswith(PREFIX) or not module.endswith(".py"):
        return method
    return f"{PREFIX}{PurePath(module).name}:{attribute}"


def beside(method: str, folder: Path) -> str:
    """The name of a method whose file lies in the folder of a spec, where it is not in the working
    directory.
    """
    module, _, attribute = method.removeprefix(PREFIX).rpartition(":")
    is_file = method.startswith(PREFIX) and module.endswith(".py")
    if not is_file or Path(module).is_file() or not (folder / module).is_file():
        return method
    return f"{PREFIX}{folder / module}:{attribute}"


def code_of(method: str) -> str:
    """sha256 of the code of a method; of a method of unspan its revision, empty for the first.

    The code is its module, and the modules of the same folder or package that this one uses.

    Args:
        method: name in the catalogue, or `python:MODULE_OR_FILE:CLASS`.

    Raises:
        UsageError: no such method, or code that cannot be imported.
    """
    if method in NETWORKS:
        return ""
    kind = by_name(method)
    origins = {one.__module__ for one in kind.__mro__}
    if method.startswith(PREFIX):
        module_name = method.removeprefix(PREFIX).rpartition(":")[0]
        origins.add(import_user_module(module_name).__name__)
    sources: dict[str, str] = {}
    for name in sorted(origins):
        top = name.partition(".")[0]
        file = sys.modules[name].__dict__.get("__file__")
        if file is not None and top not in (_OWN, *sys.stdlib_module_names):
            path = Path(file).resolve()
            _collect(path, path.parents[name.count(".") + (path.stem == "__init__")], sources)
    if not sources:
        return "" if kind.revision == 1 else f"revision {kind.revision}"
    text = "".join(f"{name}\n{sources[name]}\n" for name in sorted(sources))
    return hashlib.sha256(text.encode()).hexdigest()


def _collect(file: Path, root: Path, sources: dict[str, str]) -> None:
    """Add the source of a file, and of those below `root` that it imports, by their place there.

    Of a folder of installed packages, only those of the same package.
    """
    place = file.relative_to(root)
    if place.as_posix() in sources or file.suffix != ".py":
        return
    text = file.read_text("utf-8")
    sources[place.as_posix()] = text
    for names in _imports(text, place):
        if root.name in _INSTALLED and names[0] != place.parts[0]:
            continue
        for count in range(1, len(names) + 1):
            base = root.joinpath(*names[:count])
            for found in (base.with_suffix(".py"), base / "__init__.py"):
                if found.is_file():
                    _collect(found, root, sources)


def _imports(text: str, place: PurePath) -> list[tuple[str, ...]]:
    """The modules that a source may import, as parts of their names; names that it takes out of
    modules are among them, since these may be modules too.
    """
    found: list[tuple[str, ...]] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = place.parts[: -node.level] if node.level else ()
            module = tuple(node.module.split(".")) if node.module else ()
            found += [(*above, *module, alias.name) for alias in node.names]
    return found
