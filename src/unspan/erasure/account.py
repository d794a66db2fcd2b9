"""The account of one erasure: what was asked, found and done, as the receipt says it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

from torch import Tensor, nn

from unspan.artifact import receipt as receipts
from unspan.artifact.deletion import Form, Placement
from unspan.data.loading import size_of
from unspan.data.request import Splits
from unspan.erasers import Eraser, Projection, kind_of
from unspan.extraction import FeatureLayer
from unspan.extraction.stream import Seen
from unspan.methods import Fit, Method, Outcome
from unspan.run import Run
from unspan.system.digests import state_hash


@dataclass
class Done:
    """What one erasure found, fitted and changed."""

    feature_layer: FeatureLayer
    eraser: Eraser | None
    fit: Fit | Outcome
    placement: Placement
    form: Form
    seen: Seen
    routes: dict[str, str]
    warnings: list[str]
    seconds: float
    example: Any
    undo: Tensor | None = None
    already: bool = False


def account(
    before: nn.Module,
    after: nn.Module,
    splits: Splits,
    method: Method,
    run: Run,
    done: Done,
    key: bytes,
    *,
    previous: Sequence[dict[str, Any]],
    processes: int,
    seconds: float,
) -> dict[str, Any]:
    """The receipt: JSON only, no sample, no path; `previous` are the receipts of earlier
    requests.
    """
    seen = done.seen
    settings: dict[str, Any] = (
        asdict(method) if is_dataclass(method) and not isinstance(method, type) else {}
    )
    return {
        "schema": receipts.SCHEMA,
        "created": receipts.now(),
        "request": {
            "kind": splits.kind,
            "selector": list(splits.selector),
            "classes": list(splits.classes),
            "class_index": dict(zip(splits.selector, splits.classes, strict=False)),
            "samples_requested": size_of(splits.forget, Run()),
            "samples_read": done.fit.report["samples"],
            "distinct_samples": receipts.distinct(seen.digests),
            "commitment": receipts.commitment(seen.digests, key),
        },
        "method": {"name": method.name, "settings": settings, "fit": done.fit.report},
        "form": done.form,
        "placement": _placement(done),
        "removed_rank": done.eraser.basis.shape[1] if isinstance(done.eraser, Projection) else None,
        **receipts.protects(done.form, None if done.eraser is None else kind_of(done.eraser)),
        "access_paths": done.routes,
        "model": {
            "input": list(done.example.shape[1:]) if isinstance(done.example, Tensor) else None,
            "class": f"{type(before).__module__}.{type(before).__qualname__}",
            "sha256_before": state_hash(before.state_dict()),
            "sha256_after": state_hash(after.state_dict()),
        },
        "forget_accuracy_before": seen.hits / seen.labelled if seen.labelled else None,
        "conversions": dict(seen.conversions),
        "run": {
            "device": str(next((p.device for p in after.parameters()), "cpu")),
            "batch_size": run.batch_size,
            "seed": run.seed,
            "max_samples": run.max_samples,
            "processes": processes,
        },
        "versions": receipts.versions(),
        "seconds": {"fit": round(done.seconds, 3), "total": round(seconds, 3)},
        "notices": [],
        "warnings": [*done.warnings, *_limits(splits, done)],
        "previous": list(previous),
    }


def _limits(splits: Splits, done: Done) -> list[str]:
    """What the request itself makes doubtful."""
    said = []
    requested, read = size_of(splits.forget, Run()), done.fit.report["samples"]
    if requested is not None and read < requested:
        said.append(
            f"{read} of the {requested} requested samples were read: the commitment covers those"
            " that were read"
        )
    if splits.kind == "samples" and done.eraser is not None:
        said.append(
            "samples were requested, not a class: an eraser changes what is served for them and for"
            " unseen samples like them together, so they are not unlearned"
        )
    if done.feature_layer.head is not None and not done.seen.labelled:
        said.append(
            f"'{done.feature_layer.head}' is taken for the classifier and its input for the"
            f" features; if the"
            " model's output is an embedding, pass feature_layer='output' (--feature-layer output)"
        )
    return said


def _placement(done: Done) -> dict[str, Any]:
    where = {
        "hook": (
            f"an eraser module {'on the input of' if done.feature_layer.before else 'after'}"
            f" '{done.feature_layer.site or 'the model'}'"
        ),
        "weights": (
            f"absorbed by the weights of '{done.feature_layer.site}', the affine layer before the"
            f" head"
        ),
        "head": f"absorbed by the weights of the head '{done.feature_layer.head}'",
        "trained": "no eraser: the weights themselves were changed",
    }[done.placement]
    eraser = None if done.eraser is None else kind_of(done.eraser)
    return {
        "kind": done.placement,
        "where": where,
        "eraser": eraser,
        "feature_layer": done.feature_layer.to_dict(),
    }
