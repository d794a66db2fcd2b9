"""What a signature says of a folder: an in-toto statement."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unspan.errors import ModelError
from unspan.sealing.files import content_of

_HOME = "https://github.com/unspan/unspan"
_MOST = 1 << 28  # bytes of a receipt or an audit
_ATTACK = ("attack", "n", "unit", "erased", "erased_low", "erased_high", "reference", "verdict")


def statement_of(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The statement of a deletion, or of an audit.

    The subject of a deletion is every file that is sealed. That of an audit is the model that was
    measured, by the hash of its weights.

    Args:
        folder: that was sealed.
        manifest: as `read_manifest` gives it.

    Raises:
        ModelError: the folder is of another kind, or its content cannot be read.
    """
    kind = manifest["kind"]
    if kind not in ("deletion", "audit"):
        raise ModelError(f"{folder} is no folder of a deletion or an audit.")
    try:
        if kind == "deletion":
            subject = [
                {"name": name, "digest": {"sha256": held["sha256"]}}
                for name, held in manifest["files"].items()
            ]
            predicate = _deletion(_json(folder / "receipt.json"))
        else:
            audit = _json(folder / "audit.json")
            digest = audit["hashes"]["after"].removeprefix("sha256:")
            subject = [{"name": "weights of the erased model", "digest": {"sha256": digest}}]
            predicate = _audit(audit)
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{folder} cannot be read: it has no {error}.") from error
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subject,
        "predicateType": f"{_HOME}/{kind}/v1",
        "predicate": {"seal": manifest["seal"], **predicate},
    }


def _deletion(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked, and by which method it was done."""
    return {
        "request": receipt["request"]["kind"],
        "method": receipt["method"]["name"],
        "form": receipt["form"],
        "weights": receipt["model"]["sha256_after"],
    }


def _audit(audit: Mapping[str, Any]) -> dict[str, Any]:
    """Verdict, levels and attacks, each with its value and n."""
    return {
        "verdict": audit["verdict"],
        "levels": {one["level"]: one["state"] for one in audit["levels"]},
        "attacks": [{key: one[key] for key in _ATTACK} for one in audit["attacks"]],
        "attempts": len(audit["attempts"]),
    }


def _json(path: Path) -> Any:
    try:
        return json.loads(content_of(path, _MOST))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is damaged: {error}.") from error
