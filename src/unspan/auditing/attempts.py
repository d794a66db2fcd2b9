"""A log of the audits of one request: whoever tries until one passes leaves a trace.

One line of JSON is added before the first measurement, with the hash of the settings, and one after
the verdict. The file is append-only by convention, not by force: who deletes the cache deletes the
log, and a report then names no earlier audit.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unspan.artifact import receipt as receipts
from unspan.audit_record.circumstances import EarlierAudit
from unspan.audit_record.vocabulary import Verdict
from unspan.errors import OutputError

_NAME = "attempts.jsonl"


@dataclass(frozen=True)
class Attempt:
    """An audit that has been entered in the log.

    Attributes:
        path: the log.
        key: hash of the original model and the request.
        after: hash of the audited model.
        config: hash of the settings, fixed before the run.
        earlier: other models or settings audited for this request, in order.
    """

    path: Path
    key: str
    after: str
    config: str
    earlier: list[EarlierAudit]

    def end(self, verdict: Verdict) -> None:
        """Enter the verdict."""
        _append(
            self.path,
            {
                "key": self.key,
                "after": self.after,
                "config": self.config,
                "verdict": verdict.value,
                "at": receipts.now(),
            },
        )


def begin(
    folder: Path, before: str, after: str, request: Sequence[Any], settings: Mapping[str, Any]
) -> Attempt:
    """Enter an audit in the log of a folder before it measures anything.

    Args:
        folder: of the cache; created.
        before: hash of the original model.
        after: hash of the audited one.
        request: what was to be forgotten, JSON values.
        settings: of the audit, JSON values.

    Raises:
        OutputError: the log cannot be written.
    """
    path, key, config = folder / _NAME, _hash([before, *request]), _hash(settings)
    found: dict[tuple[str, str], EarlierAudit] = {}
    for line in _lines(path):
        if line.get("key") == key and (line.get("after"), line.get("config")) != (after, config):
            known = (str(line.get("after")), str(line.get("config")))
            before_it = found.get(known)
            word = _verdict(line.get("verdict")) or (before_it.verdict if before_it else None)
            found[known] = EarlierAudit(*known, word)
    _append(
        path, {"key": key, "after": after, "config": config, "verdict": None, "at": receipts.now()}
    )
    return Attempt(path, key, after, config, list(found.values()))


def _verdict(word: Any) -> Verdict | None:
    """A verdict of the log; None for one that did not finish, or of another version."""
    return Verdict(word) if word in {one.value for one in Verdict} else None


def _hash(value: Any) -> str:
    return "sha256:" + hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _lines(path: Path) -> list[dict[str, Any]]:
    """Lines that can be read; a line that a killed process left half written is passed over."""
    try:
        text = path.read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise OutputError(
            f"The log of audits {path} cannot be read: {error.strerror or error}. Set UNSPAN_CACHE"
            " or --cache to another folder."
        ) from error
    found = []
    for line in text.splitlines():
        try:
            one = json.loads(line)
        except ValueError:
            continue
        found += [one] if isinstance(one, dict) else []
    return found


def _append(path: Path, line: Mapping[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, ("\n" + json.dumps(line, sort_keys=True) + "\n").encode())
        finally:
            os.close(handle)
    except OSError as error:
        raise OutputError(
            f"The log of audits {path} cannot be written: {error.strerror or error}. Set"
            " UNSPAN_CACHE or --cache to a folder with room."
        ) from error
