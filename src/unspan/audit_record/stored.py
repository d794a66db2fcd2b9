"""audit.json: writing a record, and reading one with every field checked."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from unspan.audit_record.record import AuditRecord
from unspan.errors import DamagedRecord, UsageError
from unspan.sealing.canonical import canonical
from unspan.system import schemas

SCHEMA = schemas.AUDIT.schema


def to_dict(record: AuditRecord) -> dict[str, Any]:
    """The JSON form of a record; NaN and infinity become null."""
    form: dict[str, Any] = _finite(msgspec.to_builtins(record, enc_hook=_plain))
    return form


def to_json(record: AuditRecord) -> str:
    """Canonical JSON: the same record gives the same bytes."""
    return canonical(to_dict(record))


def sealed(record: AuditRecord) -> AuditRecord:
    """The record with its seal."""
    return replace(record, seal=seal(to_dict(record)))


def seal(form: dict[str, Any]) -> str:
    """sha256 over an audit without its seal: finds an edit, but is no signature, since whoever
    edits can seal again.
    """
    text = canonical({key: value for key, value in form.items() if key != "seal"})
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def read(path: Path) -> AuditRecord:
    """Read audit.json and check every field of it.

    Args:
        path: audit.json.

    Raises:
        DamagedRecord: a field is missing or of another type.
        UsageError: it cannot be read, is no audit, or is of another version.
    """
    return from_dict(decode(path), str(path))


def decode(path: Path) -> Any:
    """What a JSON file holds, unchecked.

    Raises:
        UsageError: it cannot be read, or is no JSON.
    """
    try:
        return msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read: {error}. Run the audit again.") from error


def from_dict(form: Any, name: str = "audit.json") -> AuditRecord:
    """A record from its JSON form, with every field checked.

    Args:
        form: what audit.json holds.
        name: of the file, for messages.

    Raises:
        DamagedRecord: a field is missing or of another type.
        UsageError: it is no audit, or of another version.
    """
    if not isinstance(form, dict) or "schema" not in form:
        raise UsageError(f"{name} is no audit: it names no schema. Give an audit.json.")
    if form["schema"] != SCHEMA:
        raise UsageError(
            f"{name} has schema {str(form['schema'])[:60]!r}; this version reads {SCHEMA}. Install"
            " the version of unspan that wrote it, or run the audit again."
        )
    try:
        return msgspec.convert(form, AuditRecord)
    except msgspec.ValidationError as error:
        raise DamagedRecord(f"{name} is damaged: {error}. Run the audit again.") from error


def _plain(value: Any) -> Any:
    """Numbers and texts of other libraries, such as NumPy's, as Python's own."""
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _finite(value: Any) -> Any:
    """JSON has no NaN: what could not be computed is null."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
