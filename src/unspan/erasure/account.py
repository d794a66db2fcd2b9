"""The account of one erasure: what was asked, found and done, as the receipt says it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, cast

from torch import Tensor

from unspan.artifact import receipt as receipts
from unspan.data.loading import size_of
from unspan.data.request import Request
from unspan.erasers import Projection, kind_of
from unspan.erasure.change import Change
from unspan.erasure.measuring import Measured
from unspan.erasure.opening import Opened
from unspan.erasure.remembering import Memory
from unspan.run import Run
from unspan.system.digests import state_hash
from unspan.system.schemas import RECEIPT


def account(
    opened: Opened, change: Change, measured: Measured | None, *, processes: int, seconds: float
) -> dict[str, Any]:
    """The receipt of an erasure: JSON only, no sample, no path.

    Args:
        opened: model, request and method.
        change: what was done to the copy.
        measured: what it costs; None where that was not measured.
        processes: that took part.
        seconds: since the request came, without measuring.
    """
    request, seen, run = opened.request, change.seen, opened.run
    eraser = change.eraser
    receipt: dict[str, Any] = {
        "schema": RECEIPT.schema,
        "created": receipts.now(),
        "request": _request(opened, change),
        "method": {
            "name": opened.method.name,
            "settings": asdict(cast(Any, opened.method)),
            "fit": change.figures,
        },
        "target": opened.target.value,
        "against": None if opened.against is None else opened.against.value,
        "form": change.form,
        "placement": _placement(change),
        "removed_rank": eraser.basis.shape[1] if isinstance(eraser, Projection) else None,
        **receipts.protects(change.form, None if eraser is None else kind_of(eraser)),
        "access_paths": change.access_paths,
        "routes": change.access_paths,  # the former name, which scripts still read
        "model": _model(opened, change),
        "forget_accuracy_before": seen.hits / seen.labelled if seen.labelled else None,
        "conversions": dict(seen.conversions),
        "run": {
            "device": str(next((p.device for p in opened.copy_module.parameters()), "cpu")),
            "batch_size": run.batch_size,
            "seed": run.seed,
            "max_samples": run.max_samples,
            "processes": processes,
        },
        "versions": receipts.versions(),
        "seconds": {"fit": round(change.seconds, 3), "total": round(seconds, 3)},
        "notices": _notices(opened),
        "warnings": [*change.warnings, *_limits(request, change)],
        "previous": opened.earlier_receipts,
        "evaluation": [],
    }
    return receipt | {"status": "erased"} if measured is None else _with(receipt, measured)


def _with(receipt: dict[str, Any], measured: Measured) -> dict[str, Any]:
    """The receipt with what was measured, and a status that says whether it may be used."""
    finding, refused = measured.finding, measured.refused
    warnings = [*receipt["warnings"], *finding.warnings]
    memory = {}
    if measured.before is not None:
        memory["before"] = measured.before.to_dict()
        if measured.before.do_nothing:
            warnings = [measured.before.with_advice(), *warnings]
    if measured.after is not None:
        memory["after"] = measured.after.to_dict()
        if measured.after.memory is Memory.REMEMBERED:
            warnings = [f"after erasing {measured.after.sentence()}", *warnings]
    return receipt | {
        "evaluation": finding.rows,
        "memory": memory,
        "collateral": finding.record | {"refused": refused},
        "seconds": receipt["seconds"] | {"check": round(measured.seconds, 3)},
        "warnings": warnings if refused is None else [refused, *warnings],
        "status": "erased" if refused is None else "inconclusive",
    }


def _request(opened: Opened, change: Change) -> dict[str, Any]:
    request, digests = opened.request, change.seen.digests
    return {
        "kind": request.kind,
        "selector": list(request.selector),
        "classes": list(request.classes),
        "class_index": dict(zip(request.selector, request.classes, strict=False)),
        "samples_requested": size_of(request.forget, Run()),
        "samples_read": change.seen.samples,
        "distinct_samples": receipts.distinct(digests),
        "commitment": receipts.commitment(digests, opened.key),
    }


def _model(opened: Opened, change: Change) -> dict[str, Any]:
    before, example = opened.original_module, change.example
    return {
        "input": list(example.shape[1:]) if isinstance(example, Tensor) else None,
        "class": f"{type(before).__module__}.{type(before).__qualname__}",
        "sha256_before": state_hash(before.state_dict()),
        "sha256_after": state_hash(opened.copy_module.state_dict()),
        "recipe": opened.recipe,
    }


def _notices(opened: Opened) -> list[str]:
    if opened.recipe:
        return []
    kind = type(opened.original_module).__name__
    return [
        f"the folder will not say how to build {kind}: load it with"
        f" unspan.load(folder, model={kind}(...))"
    ]


def _limits(request: Request, change: Change) -> list[str]:
    """What the request itself makes doubtful."""
    said = []
    requested, read = size_of(request.forget, Run()), change.seen.samples
    if requested is not None and read < requested:
        said.append(
            f"{read} of the {requested} requested samples were read: the commitment covers those"
            " that were read"
        )
    if request.kind == "samples" and change.eraser is not None:
        said.append(
            "samples were requested, not a class: an eraser changes what is served for them and for"
            " unseen samples like them together, so they are not unlearned"
        )
    if change.feature_layer.head is not None and not change.seen.labelled:
        said.append(
            f"'{change.feature_layer.head}' is taken for the classifier and its input for the"
            f" features; if the"
            " model's output is an embedding, pass feature_layer='output' (--feature-layer output)"
        )
    return said


def _placement(change: Change) -> dict[str, Any]:
    where = {
        "hook": (
            f"an eraser module {'on the input of' if change.feature_layer.before else 'after'}"
            f" '{change.feature_layer.site or 'the model'}'"
        ),
        "weights": (
            f"absorbed by the weights of '{change.feature_layer.site}', the affine layer before the"
            f" head"
        ),
        "head": f"absorbed by the weights of the head '{change.feature_layer.head}'",
        "trained": "no eraser: the weights themselves were changed",
    }[change.placement]
    eraser = None if change.eraser is None else kind_of(change.eraser)
    return {
        "kind": change.placement,
        "where": where,
        "eraser": eraser,
        "feature_layer": change.feature_layer.to_dict(),
        "tap": change.feature_layer.to_dict(),  # the former name, which scripts still read
    }
