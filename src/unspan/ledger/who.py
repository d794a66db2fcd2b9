"""Who asked, as a keyed commitment: with the key a name can be tested, without it nobody can.

Each entry mixes in its own random salt, so two entries do not show that one person asked twice.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from unspan.errors import ModelError, UnsafeFileError, UsageError
from unspan.ledger.chain import Entry, Kind
from unspan.ledger.files import MODE, publish_new, write
from unspan.sealing.files import check_regular, content_of

SHORTEST_KEY = 32  # bytes
_LONGEST_KEY = 4096  # bytes


def key_file(ledger: Path) -> Path:
    """Where the key of a ledger is: beside it."""
    return ledger.with_name(ledger.name + ".key")


def key_for(ledger: Path, entries: Sequence[Entry]) -> bytes:
    """The key of a ledger; made where it has none, or where the last one was purged.

    Raises:
        ModelError: it is missing, or is not the one that earlier entries were written with.
        UsageError: it is too short.
        UnsafeFileError: others may read it.
    """
    path = key_file(ledger)
    known = known_key(entries)
    if not path.exists() and not path.is_symlink():
        if known is not None:
            raise ModelError(
                f"{path} is missing. Put it back, or record that it is gone: unspan ledger purge"
                f" {ledger} --key."
            )
        publish_new(path, lambda part: write(part, secrets.token_bytes(SHORTEST_KEY)))
    key = read_key(path)
    if known is not None and fingerprint(key) != known:
        raise ModelError(f"{path} is not the key that earlier entries were written with.")
    return key


def read_key(path: Path) -> bytes:
    """The key in a file.

    Raises:
        UsageError: it is too short.
        UnsafeFileError: it is no regular file, or others may read it.
    """
    if check_regular(path).st_mode & 0o077:
        raise UnsafeFileError(f"{path} may be read by others. Forbid it: chmod {MODE:o} {path}.")
    key = content_of(path, _LONGEST_KEY)
    if len(key) < SHORTEST_KEY:
        raise UsageError(
            f"{path} has {len(key)} bytes; a key has at least {SHORTEST_KEY} random ones."
        )
    return key


def fingerprint(key: bytes) -> str:
    """The name of a key, which does not tell it."""
    return "sha256:" + hashlib.sha256(key).hexdigest()


def commitment(key: bytes, salt: str, who: str) -> str:
    """Who asked, to be tested with the key.

    Args:
        key: of the ledger.
        salt: of the entry.
        who: a name, an address or the number of a case; spaces around it and the case of letters
            do not count.
    """
    said = unicodedata.normalize("NFKC", who).strip().casefold()
    message = f"{salt}\n{said}".encode()
    return "hmac-sha256:" + hmac.new(key, message, hashlib.sha256).hexdigest()


def asked_by(entries: Iterable[Entry], key: bytes, who: str) -> list[Entry]:
    """The entries of a person, among those that were not purged and are of this key."""
    found = []
    for one in entries:
        if one.content is None or "who" not in one.content:
            continue
        if one.content["key"] != fingerprint(key):
            continue
        expected = commitment(key, one.content["salt"], who)
        if hmac.compare_digest(expected, one.content["who"]):
            found.append(one)
    return found


def known_key(entries: Sequence[Entry]) -> str | None:
    """The fingerprint of the key that is in use; None where there is none, or it was purged."""
    for one in reversed(entries):
        if one.content is None or "key" not in one.content:
            continue
        return None if one.kind is Kind.PURGE else str(one.content["key"])
    return None


def key_problems(ledger: Path, entries: Sequence[Entry]) -> list[str]:
    """What is wrong with the key beside a ledger; a missing one is no fault, others verify too."""
    path, known = key_file(ledger), known_key(entries)
    if known is None or not (path.exists() or path.is_symlink()):
        return []
    try:
        same = fingerprint(read_key(path)) == known
    except (UsageError, UnsafeFileError) as error:
        return [str(error)]
    return [] if same else [f"{path.name} is not the key that entries were written with"]
