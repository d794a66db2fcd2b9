"""Where a command may write: never over an input, and only over what an earlier run of the same
kind wrote.

Nothing here changes a file. Every command asks before its work and again when it writes. A command
that loads a model first calls `check_place` before that, which looks at the path alone.

The other checks share these arguments and errors:

- `path`: what is to be written, as the user gave it.
- `what`: the kind of output, for messages, for example "an unspan folder".
- `overwrite`: the user asked to replace an earlier output.
- `inputs`: files and folders that the run reads.
- UsageError: the path is an input, or holds something else; the text says what to do instead.
- OutputError: the parent folder is missing or cannot be written.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path

from unspan.errors import OutputError, UsageError

_LONGEST = 200  # characters of a file name; temporary names beside it add up to about 40


def check_place(path: Path) -> None:
    """Refuse a path that is no name in a folder that exists and can be written.

    It needs nothing but the path, so a command can ask before it loads a model.

    Raises:
        UsageError: the name is empty, too long, or the working directory itself.
        OutputError: the parent folder is missing or cannot be written, or the path cannot be used.
    """
    if len(os.fsencode(path.name)) > _LONGEST:
        raise UsageError(
            f"The name of the output has {len(os.fsencode(path.name))} bytes; use at most"
            f" {_LONGEST}."
        )
    try:
        nameless = not path.name or path.name == ".." or path.resolve() == Path.cwd()
        there = path.parent.is_dir()
        with suppress(FileNotFoundError):
            os.lstat(path)
    except (OSError, ValueError, RuntimeError) as error:  # also a null byte or a loop of links
        reason = error.strerror if isinstance(error, OSError) else error
        raise OutputError(
            f"The output {str(path)[:80]!r} cannot be used: {reason}. Choose another path."
        ) from error
    if nameless:
        raise UsageError(
            f"The output {str(path)!r} is no name for something new; choose one, for example --out"
            " erased."
        )
    if not there:
        raise OutputError(f"The folder {path.parent} does not exist; create it first.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"No permission to write in {path.parent}.")


def check_folder(
    path: Path,
    names: Collection[str],
    *,
    what: str,
    overwrite: bool,
    inputs: Iterable[Path] = (),
    optional: Collection[str] = (),
    empty: bool = False,
) -> None:
    """Refuse a folder that is an input, or that holds anything but exactly the files `names`.

    Arguments and errors are those of the module, and:

    Args:
        names: the files that this kind of output consists of.
        optional: files that may be there too.
        empty: a folder with nothing in it may be replaced without asking.
    """
    check_place(path)
    refuse_inputs(path, inputs)
    if not os.path.lexists(path):
        return
    if empty and not path.is_symlink() and path.is_dir() and _holds_exactly(path, ()):
        return
    if path.is_symlink():
        raise UsageError(
            f"{path} is a symbolic link; give the folder it should be itself as --out."
        )
    if not path.is_dir() or not _holds_exactly(path, names, optional):
        raise UsageError(
            f"{path} exists and is not {what}: it is never overwritten. Choose another --out."
        )
    if not overwrite:
        raise UsageError(
            f"{path} exists; pass --overwrite to replace it, or choose another folder."
        )


def check_file(
    path: Path,
    is_ours: Callable[[Path], bool],
    *,
    what: str,
    overwrite: bool,
    inputs: Iterable[Path] = (),
) -> None:
    """Refuse a file that is an input, or that was not written by the same command.

    Arguments and errors are those of the module, and:

    Args:
        is_ours: tells from its content whether a file was written by this command.
    """
    check_place(path)
    refuse_inputs(path, inputs)
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_file() or not is_ours(path):
        raise UsageError(
            f"{path} exists and is not {what}: it is never overwritten. Choose another --out."
        )
    if not overwrite:
        raise UsageError(f"{path} exists; pass --overwrite to replace it, or choose another file.")


def check_shared_folder(
    path: Path, names: Collection[str], *, what: str, inputs: Iterable[Path] = ()
) -> None:
    """Refuse a folder to which runs add that is an input, or holds anything but entries of `names`.

    Arguments and errors are those of the module, and:

    Args:
        names: the folders that runs make in it.
    """
    check_place(path)
    refuse_inputs(path, inputs)
    if not os.path.lexists(path):
        return
    if not path.is_dir():
        raise UsageError(f"{path} exists and is not {what}; choose another --out.")
    foreign = sorted(entry.name for entry in path.iterdir() if entry.name not in names)
    if foreign:
        raise UsageError(
            f"{path} exists and is not {what}: it holds {foreign[0]}. Nothing is written there;"
            " choose another --out."
        )


def refuse_inputs(path: Path, inputs: Iterable[Path]) -> None:
    """Refuse an output that is an input, lies in one or holds one (UsageError)."""
    inputs = [source for source in inputs if os.path.exists(source)]
    target = path.resolve()
    for source in inputs:
        origin = source.resolve()
        if target == origin or (target.exists() and os.path.samefile(target, origin)):
            raise UsageError(
                f"The output {path} is also an input; choose another place with --out."
            )
        if target in origin.parents:
            raise UsageError(
                f"The input {source} lies inside the output {path}; choose another place with"
                " --out."
            )
    refuse_inside(path, inputs)


def refuse_inside(path: Path, inputs: Iterable[Path]) -> None:
    """Refuse to write into a folder that is read (UsageError)."""
    target = path.resolve()
    for source in inputs:
        if os.path.isdir(source) and source.resolve() in (target, *target.parents):
            raise UsageError(
                f"{path} lies inside the input {source}; choose a place outside of it."
            )


def _holds_exactly(path: Path, names: Collection[str], optional: Collection[str] = ()) -> bool:
    """The folder holds these regular files and nothing else but optional ones."""
    try:
        entries = list(path.iterdir())
    except OSError:
        return False
    plain = all(entry.is_file() and not entry.is_symlink() for entry in entries)
    return plain and {entry.name for entry in entries} - {*optional} == {*names}
