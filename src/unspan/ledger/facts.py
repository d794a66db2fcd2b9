"""What a sealed folder says in the open: of a deletion, or of an audit.

Names of classes are taken from a request by class alone. Ids, groups and paths are never read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unspan.errors import ModelError
from unspan.sealing.files import content_of

_MOST = 1 << 28  # bytes of a receipt or an audit
_LONGEST = 200  # characters of a name


@dataclass(frozen=True, kw_only=True)
class DeletionFacts:
    """What a receipt says.

    Attributes:
        created: when the deletion was made, UTC.
        request: class, samples or data.
        classes: names of the classes; empty where the request was not by class.
        samples: how many samples of the request were read.
        method: that was used.
        form: of the result: projected, trained, folded.
        weights: hash of the weights of the erased model.
        earlier: how many requests were erased in the model before.
    """

    created: str
    request: str
    classes: list[str]
    samples: int
    method: str
    form: str
    weights: str
    earlier: int


@dataclass(frozen=True, kw_only=True)
class AuditFacts:
    """What an audit says.

    Attributes:
        created: when it was made, UTC.
        verdict: its word for all attackers together.
        attacks: how many attacks were measured.
        references: how many networks it compares with.
        weights: hash of the weights of the model that was measured.
    """

    created: str
    verdict: str
    attacks: int
    references: int
    weights: str


def deletion_facts(folder: Path) -> DeletionFacts:
    """Read the receipt of a folder.

    Raises:
        ModelError: it is damaged.
        UnsafeFileError: it is no regular file.
    """
    path = folder / "receipt.json"
    receipt = _json(path)
    try:
        request = receipt["request"]
        by_class = request["kind"] == "class"
        return DeletionFacts(
            created=_text(receipt["created"]),
            request=_text(request["kind"]),
            classes=[_text(one) for one in request["selector"]] if by_class else [],
            samples=_count(request["samples_read"]),
            method=_text(receipt["method"]["name"]),
            form=_text(receipt["form"]),
            weights=_text(receipt["model"]["sha256_after"]),
            earlier=len(receipt["previous"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error


def audit_facts(folder: Path) -> AuditFacts:
    """Read the audit of a folder.

    Raises:
        ModelError: it is damaged.
        UnsafeFileError: it is no regular file.
    """
    path = folder / "audit.json"
    audit = _json(path)
    try:
        return AuditFacts(
            created=_text(audit["created"]),
            verdict=_text(audit["verdict"]),
            attacks=len(audit["attacks"]),
            references=_count(audit["reference"]["count"]),
            weights=_text(audit["hashes"]["after"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error


def _json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(content_of(path, _MOST))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, error) from error
    if not isinstance(content, dict):
        raise _damaged(path, TypeError("no object"))
    return content


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} in place of a text")
    return value[:_LONGEST].encode("utf-8", "replace").decode()


def _count(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{type(value).__name__} in place of a count")
    return value


def _damaged(path: Path, error: Exception) -> ModelError:
    return ModelError(
        f"{path} is damaged ({type(error).__name__}: {error}). Take the folder from its source."
    )
