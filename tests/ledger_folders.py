"""Sealed folders of deletions and audits for tests of the ledger, made without a network."""

import json
from pathlib import Path

from unspan.sealing.manifest import read_manifest, write_manifest

WEIGHTS = "sha256:" + 64 * "a"


def receipt(kind="class", selector=("deer",), weights=WEIGHTS, method="resample"):
    """The fields of a receipt that a ledger may read, and some that it must not."""
    return {
        "created": "2026-03-01T10:00:00+00:00",
        "request": {
            "kind": kind,
            "selector": list(selector),
            "class_index": dict.fromkeys(selector, 4),
            "samples_read": 1200,
            "commitment": "hmac-sha256:" + 64 * "c",
        },
        "method": {"name": method},
        "form": "projected",
        "model": {"sha256_after": weights, "recipe": {"spec": "python:/srv/secret-path.py:net"}},
        "previous": [],
    }


def deletion(folder: Path, **given) -> Path:
    """A deletion with its private folder."""
    folder.mkdir()
    (folder / "receipt.json").write_text(json.dumps(receipt(**given)))
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "README.md").write_text("card")
    write_manifest(folder, "deletion", ("receipt.json", "model.safetensors", "README.md"), {})
    secret = folder.with_name(folder.name + ".private")
    secret.mkdir(0o700)
    (secret / "key").write_bytes(b"the key of the request, 32 bytes")
    (secret / "state.safetensors").write_bytes(b"the state" * 100)
    of = read_manifest(folder)["seal"]
    write_manifest(secret, "private", ("key", "state.safetensors"), {"of": of})
    return folder


def audit(folder: Path, verdict="LIKE RETRAINED", weights=WEIGHTS) -> Path:
    """An audit of a deletion."""
    folder.mkdir()
    content = {
        "created": "2026-03-02T10:00:00+00:00",
        "verdict": verdict,
        "attacks": [{}, {}],
        "reference": {"count": 3},
        "hashes": {"after": weights},
        "request": {"selector": ["deer"]},
    }
    (folder / "audit.json").write_text(json.dumps(content))
    (folder / "report.html").write_text("page")
    (folder / "report.md").write_text("page")
    write_manifest(folder, "audit", ("audit.json", "report.html", "report.md"), {})
    return folder
