"""Files of a gallery, on this machine or in an object store that fsspec knows.

A file appears under its name when it is whole: it is written beside it, flushed, and renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from unspan.errors import DataError, OutputError, UsageError

_BLOCK = 1 << 20
_PART = ".unspan-part"


@dataclass(frozen=True)
class Place:
    """A file or folder.

    Attributes:
        system: of fsspec.
        path: within it.
    """

    system: fsspec.AbstractFileSystem
    path: str

    @classmethod
    def named(cls, where: str | Path) -> Place:
        """From a path or an address such as `s3://bucket/gallery`.

        Raises:
            UsageError: the kind of address is not known, or its library is missing.
        """
        try:
            system, path = fsspec.core.url_to_fs(str(where))
        except (ValueError, ImportError) as error:
            raise UsageError(f"{where} cannot be opened: {error}") from error
        return cls(system, path.rstrip("/") or path)

    @property
    def local(self) -> Path | None:
        """The path, where it is on this machine."""
        return Path(self.path) if isinstance(self.system, LocalFileSystem) else None

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.path).name

    def __truediv__(self, name: str) -> Place:
        return Place(self.system, f"{self.path}/{name}")

    def beside(self, ending: str) -> Place:
        """A file whose name has an ending more."""
        return Place(self.system, self.path + ending)

    def exists(self) -> bool:
        """Whether there is a file or folder."""
        return bool(self.system.exists(self.path))

    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return bool(self.system.isdir(self.path))

    def files(self) -> list[str]:
        """Names of the files in the folder and below, in order."""
        start = len(self.path) + 1
        return sorted(one[start:] for one in self.system.find(self.path))

    def open(self) -> BinaryIO:
        """The file, to read (DataError where it cannot be)."""
        try:
            return cast(BinaryIO, self.system.open(self.path, "rb"))
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error}") from error

    def digest(self) -> str:
        """sha256 of the file, as hexadecimal digits."""
        total = hashlib.sha256()
        with self.open() as file:
            while block := file.read(_BLOCK):
                total.update(block)
        return total.hexdigest()

    def write(self, fill: Callable[[BinaryIO], None]) -> str:
        """Write the file as a whole, or leave what was there.

        Args:
            fill: writes the content.

        Returns:
            sha256 of the content.

        Raises:
            OutputError: it cannot be written.
        """
        part = self.beside(_PART)
        try:
            self.system.makedirs(self.system._parent(self.path), exist_ok=True)
            with part.system.open(part.path, "wb") as file:
                hashed = _Hashed(file)
                fill(cast(BinaryIO, hashed))
                file.flush()
                if self.local is not None:
                    os.fsync(file.fileno())
            if self.local is None:
                self.system.mv(part.path, self.path)
            else:
                os.replace(part.path, self.path)
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error}") from error
        finally:
            if part.exists():
                part.system.rm_file(part.path)
        return hashed.total.hexdigest()

    def read_json(self) -> Any:
        """The content of a JSON file; None where there is none, or it is damaged."""
        if not self.exists():
            return None
        try:
            with self.open() as file:
                return json.loads(file.read())
        except ValueError:
            return None

    def write_json(self, content: Any) -> None:
        """Write a JSON file."""
        text = json.dumps(content, indent=2, sort_keys=True).encode() + b"\n"
        self.write(lambda file: cast(None, file.write(text)))


class _Hashed:
    """A file that is written from the front, and the hash of what went into it."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.total = hashlib.sha256()
        self.closed = False

    def write(self, content: Any) -> int:
        self.total.update(content)
        return int(self._file.write(content))

    def tell(self) -> int:
        return int(self._file.tell())

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """Nothing: whoever opened the file closes it."""

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True
