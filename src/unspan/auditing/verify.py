"""Check an erased folder offline: hashes, the eraser itself, and that an audit belongs to it. No
data are needed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unspan.artifact import Damage, damage_of, inspect, load
from unspan.artifact import receipt as receipts
from unspan.artifact.private import ROUNDING, read_private
from unspan.artifact.record import Record, record_of
from unspan.audit_record import stored
from unspan.audit_record.record import AuditRecord
from unspan.erasers import Gate, Projection, head_rows
from unspan.errors import DamagedRecord, ModelError, OtherVersionError, UnspanError, UsageError
from unspan.extraction import head_parameters, unwrap
from unspan.metrics.casts import cast_weight
from unspan.sealing.canonical import canonical
from unspan.sealing.checking import Check, sealed
from unspan.sealing.manifest import is_sealed
from unspan.system.digests import state_hash

_ROUNDING = {
    None: 1e-5,
    "f16": 1e-3,
    "bf16": 1e-2,
    "int8": 2e-2,
}  # what rounding of the head lets through of removed directions


_DAMAGED = {
    Damage.RECEIPT: "receipt is as it was written",
    Damage.WEIGHTS: "weights file is the one the receipt describes",
    None: "weights file is the one the receipt describes",
}
_SAME_PAGE = {
    True: "drawn again, byte for byte",
    False: "it differs",
    None: ("it differs, and was written by other versions of the libraries: compare by hand"),
}


def verify(
    folder: Path,
    audit: Path | None = None,
    *,
    key: Path | None = None,
    model: nn.Module | None = None,
    trust_code: bool = False,
) -> list[Check]:
    """Run every check that needs no data: seals and signatures, and then what the files say.

    Args:
        folder: written by `unspan erase`.
        audit: audit.json, or the folder with it.
        key: file of the public key (PEM) that should have signed the folder and the audit.
        model: an instance of the architecture, when only your code can build it.
        trust_code: run the code that the receipt names to build the model.
    """
    try:
        account = inspect(folder)
    except (UsageError, OtherVersionError) as error:
        return [Check("folder", None, str(error))]
    except ModelError as error:
        return [Check(_DAMAGED[damage_of(folder)], False, str(error))]
    weights = account["files"]["model.safetensors"]
    checks = [
        *sealed(folder, audit, key),
        Check(_DAMAGED[Damage.WEIGHTS], True, weights),
        *_chain(account),
    ]
    try:
        built = unwrap(load(folder, model, trust_code=trust_code))
    except UnspanError as error:
        checks.append(Check("model", None, str(error)))
    else:
        checks += _loaded(folder, built, account)
    if audit is not None:
        checks += _audit(audit, account)
    return checks


def _chain(account: dict[str, Any]) -> list[Check]:
    """Whether receipts of earlier requests are those that their folders were sealed with."""
    found = []
    for number, one in enumerate(account["previous"], 1):
        manifest = one.get("manifest")
        if manifest is None:
            continue
        own = {key: value for key, value in one.items() if key != "manifest"}
        digest = hashlib.sha256(canonical(own).encode()).hexdigest()
        same = is_sealed(manifest) and manifest["account"] == digest
        detail = str(manifest.get("seal")) if same else "it differs from what its folder held"
        found.append(
            Check(f"receipt of earlier request {number} is as it was sealed", same, detail)
        )
    return found


def _loaded(folder: Path, model: nn.Module, account: dict[str, Any]) -> list[Check]:
    """Weights, eraser and private folder of a model that could be built."""
    digest = state_hash(model.state_dict())
    same = digest == account["model"]["sha256_after"]
    found = [Check("loaded weights are those that were erased", same, digest)]
    record = record_of(model)
    if record is None:
        return found
    private = _private(folder, model, record)
    known = any(one.ok for one in private)
    return [*found, *_eraser(model, record, directions_known=known), *private]


def _eraser(model: nn.Module, record: Record, *, directions_known: bool) -> list[Check]:
    """The eraser that the model carries; a trained model has none, and nothing to check here.

    Args:
        model: as loaded.
        record: how it was erased.
        directions_known: the private folder holds the directions, and its own check holds.
    """
    eraser = record.eraser
    if record.form == "trained" or (eraser is None and directions_known):
        return []
    if isinstance(eraser, Gate):
        return _gate(model, record, eraser)
    if not isinstance(eraser, Projection):
        return [
            Check("removed directions", None, "not stored in this form, so they cannot be checked")
        ]
    basis = eraser.basis.double()
    error = float((basis.mT @ basis - torch.eye(basis.shape[1], dtype=torch.float64)).abs().max())
    found = [
        Check(
            "the eraser is a projection",
            error <= 1e-5,
            f"largest deviation from orthonormal {error:.1e}",
        )
    ]
    head = head_parameters(model, record.feature_layer)
    if head is None:
        return found
    weight = head[0].double()
    layer: Any = model.get_submodule(record.feature_layer.head or "")
    own = ROUNDING[layer.weight.dtype]
    for how, rounds_to in _ROUNDING.items():
        limit = max(rounds_to, own)
        rounded = weight if how is None else cast_weight(weight.float(), how).double()
        share = float(torch.linalg.matrix_norm(rounded @ basis) / torch.linalg.matrix_norm(rounded))
        name = "the head reads nothing of the removed directions" + (
            "" if how is None else f", after a cast to {how}"
        )
        found.append(Check(name, share <= limit, f"share {share:.1e}, limit {limit:.0e}"))
    return found


def _private(folder: Path, model: nn.Module, record: Record) -> list[Check]:
    """The private folder, where it is there: whole, and of these weights."""
    found = read_private(folder, record.receipt["placement"], model, record.feature_layer)
    if not found.there:
        return []
    name = "the private folder is whole and of these weights"
    return [Check(name, found.problem is None, found.problem or "its digest and its directions")]


def _gate(model: nn.Module, record: Record, eraser: Gate) -> list[Check]:
    """A gate for classes of the head is made of the head's own rows."""
    numbers = all(bool(buffer.isfinite().all()) for buffer in eraser.buffers())
    found = [
        Check(
            "the eraser holds numbers only",
            numbers,
            f"{sum(buffer.numel() for buffer in eraser.buffers())} of them",
        )
    ]
    head, classes = (
        head_parameters(model, record.feature_layer),
        record.receipt["request"]["classes"],
    )
    if head is None or not classes:
        return found
    rows = head_rows(head)[classes]
    error = float((eraser.forgotten.double() - rows).abs().max())
    return [
        *found,
        Check(
            "the gate asks what the head says of the request",
            error <= 1e-3 * float(rows.abs().max()),
            f"largest difference of its rows {error:.1e}",
        ),
    ]


def _audit(path: Path, account: dict[str, Any]) -> list[Check]:
    path = path / "audit.json" if path.is_dir() else path
    try:
        form = stored.decode(path)
        record = stored.from_dict(form, str(path))
    except DamagedRecord as error:
        return [Check("audit is whole", False, str(error))]
    except UsageError as error:
        return [Check("audit", None, str(error))]
    whole = record.seal == stored.seal(form)
    said = "its verdict is not repeated here, since the audit was edited"
    return [
        Check("audit is as it was written", whole, "its seal; not a signature"),
        Check(
            "audit is of these weights",
            record.hashes.after == account["model"]["sha256_after"],
            record.verdict.value if whole else said,
        ),
        *_pages(path.parent, record, whole),
    ]


def _pages(folder: Path, record: AuditRecord, whole: bool) -> list[Check]:
    """Whether the pages beside an audit say what it says."""
    from unspan.report import html, markdown

    checks = []
    for name, draw in (("report.html", html), ("report.md", markdown)):
        if not (folder / name).is_file():
            continue
        written = (folder / name).read_text("utf-8", errors="replace")
        equal: bool | None = whole and written == draw(record)
        if whole and not equal and record.versions != receipts.versions():
            equal = None  # drawn by other versions of the libraries
        checks.append(Check(f"{name} says what the audit says", equal, _SAME_PAGE[equal]))
    return checks
