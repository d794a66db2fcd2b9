"""Look for names of people, ids and paths in files that are to be published."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import urllib.parse
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from unspan.errors import UsageError
from unspan.sealing.files import check_regular

SHORTEST = 3  # characters; anything shorter is in every file
_PART = 8 << 20  # bytes that are read at a time


@dataclass(frozen=True)
class Hit:
    """A name in a file.

    Attributes:
        file: where, from the folder that was scanned.
        name: as it was given.
        form: how it is written there.
    """

    file: str
    name: str
    form: str


def scan(folder: Path, names: Collection[str]) -> list[Hit]:
    """Files of a folder that hold one of some names, in any of the forms that unspan and others
    write: as it is, in small letters, escaped for JSON, HTML or an address, UTF-16, base64, and as
    an unkeyed hash.

    Args:
        folder: and everything below it; or one file.
        names: to look for; a path stands for its last part too.

    Raises:
        UsageError: a name is too short to tell anything, or the folder is not there.
        UnsafeFileError: a file is none, or cannot be read.
    """
    if not folder.exists():
        raise UsageError(f"{folder} does not exist.")
    short = [one for one in names if len(one) < SHORTEST]
    if short or not names:
        raise UsageError(f"Give names of at least {SHORTEST} characters.")
    wanted = {form: (name, how) for name in names for how, form in _forms(name)}
    found = []
    for file in sorted(_files(folder)):
        place = file.name if folder.is_file() else str(file.relative_to(folder))
        found += [Hit(place, *wanted[form]) for form in _held(file, wanted)]
        found += [Hit(place, name, "in its path") for name in names if name in place]
    return found


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_file():
        yield folder
        return
    for one in folder.rglob("*"):
        if not one.is_dir():
            yield one


def _held(file: Path, wanted: Collection[bytes]) -> set[bytes]:
    """Which byte strings are in a file; letters are compared as they are and in small."""
    check_regular(file)
    longest = max(map(len, wanted))
    found: set[bytes] = set()
    before = b""
    with file.open("rb") as source:
        while part := source.read(_PART):
            text = before + part
            small = text.lower()
            found |= {one for one in wanted if one in text or one in small}
            before = text[-longest:]
    return found


def _forms(name: str) -> Iterator[tuple[str, bytes]]:
    """Ways to write a name, and their bytes."""
    for one in dict.fromkeys([name, PurePath(name).name]):
        if len(one) < SHORTEST:
            continue
        raw = one.encode()
        yield "as it is", raw
        yield "in small letters", one.lower().encode()
        yield "in capitals", one.upper().encode()
        yield "escaped for JSON", json.dumps(one)[1:-1].encode()
        yield "escaped for HTML", html.escape(one).encode()
        yield "escaped for an address", urllib.parse.quote(one).encode()
        yield "in UTF-16", one.encode("utf-16-le")
        yield "in base64", base64.b64encode(raw).rstrip(b"=")
        for how in ("md5", "sha1", "sha256"):
            yield f"as {how} without a key", hashlib.new(how, raw).hexdigest().encode()
