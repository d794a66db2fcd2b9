"""Run a method that changes weights: give it the data it declared, and nothing else."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Subset

from unspan import dist
from unspan.artifact import receipt as receipts
from unspan.data.loading import batches, peek, size_of
from unspan.data.request import Splits, labels_of
from unspan.erasure.account import Done
from unspan.erasure.checks import (
    check_classes,
    check_recognised,
    data_notices,
    described,
    split_notices,
)
from unspan.errors import InconclusiveError, UsageError
from unspan.extraction import FeatureLayer, Pool, find_feature_layer, head_parameters
from unspan.extraction.stream import FeatureStream, Seen, example, seen_by_all
from unspan.methods import TrainedMethod
from unspan.models import check_usable
from unspan.run import Run
from unspan.system.digests import state_hash
from unspan.training.checkpoint import Checkpoint
from unspan.training.context import Work, class_scores, image_layout

PARTS = ("forget", "retain", "holdout")
_MISSING = {
    "forget": "forget samples",
    "retain": (
        "data to keep, and the request holds forget data only: give the whole data (--data), or"
        " Splits(forget=..., retain=...)"
    ),
    "holdout": (
        "held-out samples that no model was trained on, to choose by: give --holdout SPLIT[:SHARE],"
        " or Splits(holdout=...)"
    ),
}


def check_parts(splits: Splits, needs: frozenset[str], name: str) -> None:
    """Refuse a method whose data are not there (UsageError)."""
    for part in PARTS:
        if part in needs and getattr(splits, part) is None:
            raise UsageError(f"Method {name} needs {_MISSING[part]}.")


def train_request(
    inner: nn.Module,
    splits: Splits,
    method: Any,
    run: Run,
    earlier: Sequence[dict[str, Any]],
    *,
    feature_layer: str | None,
    pool: Pool | None,
    check_labels: bool,
    resume: Path | None,
    frozen: frozenset[str] = frozenset(),
) -> Done:
    """One pass over the forget data for the receipt, then the method; arguments as of `erase`,
    `earlier` the receipts of requests before, `frozen` the normalisation layers that stay.
    """
    check_usable(inner)
    check_parts(splits, method.needs, method.name)
    if run.max_samples is not None:
        raise UsageError(
            f"max_samples={run.max_samples} cuts the request, and {method.name} trains on all of"
            " it. Leave it out, or make the request smaller."
        )
    if earlier:
        splits = without_earlier(splits, earlier)
    notices = described(lambda: data_notices(splits.forget), "reading the data twice")
    notices += described(lambda: split_notices(splits), "overlap of the parts of the data")
    first, stream_batches = peek(batches(splits.forget, run))
    inputs = example(first, inner)
    found, more = find_feature_layer(inner, inputs, feature_layer, pool, classes=splits.num_classes)
    head = head_parameters(inner, found)
    if check_labels:
        check_classes(splits, head, inner)
    stream = FeatureStream(
        inner, found, stream_batches, run, total=size_of(splits.forget, run), head=head
    )
    for _ in stream:
        pass
    seen = seen_by_all(stream)
    if check_labels and not earlier:
        check_recognised(seen, stream.head, splits)
    return _run(inner, splits, method, run, found, seen, inputs, notices + more, resume, frozen)


def _run(
    inner: nn.Module,
    splits: Splits,
    method: TrainedMethod,
    run: Run,
    feature_layer: FeatureLayer,
    seen: Seen,
    inputs: Any,
    notices: list[str],
    resume: Path | None,
    frozen: frozenset[str],
) -> Done:
    """Let the method change the weights in place.

    Args:
        inner: the copy.
        splits: the request.
        method: with its settings.
        run: device, seed, progress.
        feature_layer: where features and head are.
        seen: what the pass over the forget data met.
        inputs: two samples on the device of the model.
        notices: warnings so far.
        resume: folder for epochs, so that a run that was killed goes on; None keeps none.
        frozen: normalisation layers that keep their running statistics.
    """
    check_parts(splits, method.needs, method.name)
    with torch.no_grad():
        classes = class_scores(inner, inputs).shape[1]
    dist.agree("the settings", (repr(method), splits.kind, splits.selector, splits.classes))
    key = _key(inner, method, run, feature_layer, frozen)
    checkpoint = Checkpoint(resume, key)
    parts = {name: getattr(splits, name) for name in PARTS if name in method.needs}
    work = Work(inner, feature_layer, parts, run, checkpoint, classes, splits.classes, frozen)
    still = [one for one in inner.parameters() if not one.requires_grad]
    begun = time.perf_counter()
    with image_layout(inner), torch.enable_grad():
        outcome = method.unlearn(work)
    seconds = time.perf_counter() - begun
    broken = [name for name, one in inner.named_parameters() if not bool(torch.isfinite(one).all())]
    if broken:
        raise InconclusiveError(
            f"{method.name}: {broken[0]} is infinite or NaN. Check the settings; the output was not"
            " written."
        )
    if still and len(still) == len(list(inner.parameters())):
        notices.append(
            "no parameter of the model requires gradients: methods that train had nothing to change"
        )
    if checkpoint.resumed:
        notices.append(
            f"the run went on after epoch {checkpoint.resumed} of one that was stopped; its seconds"
            " are those since then"
        )
    retained = len(parts["retain"]) if "retain" in parts else 0
    read = len(seen.digests) // 32
    report = {
        "forget_used": read if "forget" in parts else 0,
        "retained_used": retained,
        **outcome.report,
        "samples": read,
        "retained_read": retained,
        "dim": feature_layer.dim,
    }
    done = Done(
        feature_layer,
        None,
        type(outcome)(report, outcome.warnings),
        "trained",
        "trained",
        seen,
        {},
        notices + list(outcome.warnings),
        seconds,
        inputs,
    )
    return done


def without_earlier(splits: Splits, receipts_: Sequence[dict[str, Any]]) -> Splits:
    """The request with what earlier ones on this model asked to forget taken out of the data to
    keep.

    Raises:
        UsageError: an earlier request was not of classes, so its samples cannot be told from the
            others.
    """
    if splits.retain is None:
        return splits
    if any(one["request"]["kind"] != "class" for one in receipts_):
        raise UsageError(
            "An earlier request on this model named samples, which stand in the data to keep and"
            " would be learned again. Give both requests together, from the original, or leave them"
            " out of the data."
        )
    gone = {label for one in receipts_ for label in one["request"]["classes"]}
    kept = [i for i, label in enumerate(labels_of(splits.retain)) if label not in gone]
    return replace(splits, retain=Subset(splits.retain, kept))


def _key(
    inner: nn.Module,
    method: TrainedMethod,
    run: Run,
    feature_layer: FeatureLayer,
    frozen: frozenset[str],
) -> str:
    """Hash of what decides the result beside the samples, which `Work.fingerprint` adds."""
    content = [
        state_hash(inner.state_dict()),
        method.name,
        repr(method),
        feature_layer.to_dict(),
        sorted(frozen),
        run.seed,
        dist.world(),
        receipts.versions(),
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
