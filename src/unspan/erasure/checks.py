"""Data and models that a result would be wrong for, or different every time: refused, or said in
the receipt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from unspan import dist
from unspan.data.batch import Batch
from unspan.data.class_matching import join
from unspan.data.class_names import names_of_model
from unspan.data.inputs import place
from unspan.data.labels import LabelledSubset
from unspan.data.loading import dropped
from unspan.data.overlap import copies_kept, tested_on_training
from unspan.data.request import Request, labels_of
from unspan.data.sample_forms import digest_of
from unspan.erasers.linalg import Moments, sin_theta, spectrum
from unspan.errors import DataError, UsageError
from unspan.extraction import FeatureLayer, input_like, read
from unspan.extraction.stream import Seen, example
from unspan.methods import EraserMethod, Method

READ_TWICE = 16  # samples; a coin flip per reading stays unseen once in 65,000 requests


_MISSING = {
    "forget": "forget samples",
    "retain": (
        "data to keep, and the request holds forget data only: give the whole data (--data), or"
        " Request(forget=..., retain=...)"
    ),
    "holdout": (
        "held-out samples that no model was trained on, to choose by: give --holdout SPLIT[:SHARE],"
        " or Request(holdout=...)"
    ),
}


def parts_of(
    request: Request, needs: frozenset[str], reads_if_given: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """The data of the parts that a method declares to need, None where there are none, and of those
    that it reads where they are given.
    """
    parts = {"forget": request.forget, "retain": request.retain, "holdout": request.holdout}
    return {
        part: data
        for part, data in parts.items()
        if part in needs or (part in reads_if_given and data is not None)
    }


def check_parts(request: Request, needs: frozenset[str], name: str) -> None:
    """Refuse a method whose data are not there (UsageError)."""
    for part, data in parts_of(request, needs).items():
        if data is None:
            raise UsageError(f"Method {name} needs {_MISSING[part]}.")


def check_processes(method: Method) -> None:
    """Refuse several processes where the method works in one (UsageError)."""
    if method.one_process and dist.world() > 1:
        raise UsageError(
            f"Method {method.name} with these settings works in one process, and there are"
            f" {dist.world()}: start without torchrun, or choose another method (unspan methods)."
        )


def without_earlier(request: Request, receipts_: Sequence[dict[str, Any]]) -> Request:
    """The request with what earlier ones on this model asked to forget taken out of the data to
    keep.

    Raises:
        UsageError: an earlier request was not of classes, so its samples cannot be told from the
            others.
    """
    if request.retain is None:
        return request
    if any(one["request"]["kind"] != "class" for one in receipts_):
        raise UsageError(
            "An earlier request on this model named samples, which stand in the data to keep and"
            " would be learned again. Give both requests together, from the original, or leave them"
            " out of the data."
        )
    gone = {label for one in receipts_ for label in one["request"]["classes"]}
    kept = [i for i, label in enumerate(labels_of(request.retain)) if label not in gone]
    return replace(request, retain=Subset(request.retain, kept))


def described(step: Callable[[], list[str]], what: str) -> list[str]:
    """Notices of a step that only describes: an error in it is a notice, and ends nothing."""
    try:
        return step()
    except (KeyboardInterrupt, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        return [f"{what} was not checked: {type(error).__name__}: {str(error)[:200]}"]


def data_notices(forget: Any) -> list[str]:
    """What the user should know of the forget data: samples never read, values that change when
    read again.
    """
    notices = []
    lost = dropped(forget)
    if lost:
        notices.append(f"the loader has drop_last=True: {lost} forget samples are never read")
    dataset: Any = forget.dataset if isinstance(forget, DataLoader) else forget
    try:
        count = min(READ_TWICE, len(dataset)) if hasattr(dataset, "__getitem__") else 0
        twice = any(digest_of(dataset[at]) != digest_of(dataset[at]) for at in range(count))
    except Exception:  # a sample that cannot be read is reported by the pass itself, with its name
        twice = False
    if twice:
        notices.append(
            "the data gives other values when a sample is read again (random augmentation): the"
            " result depends on the draw; use evaluation transforms"
        )
    return notices


def split_notices(request: Request) -> list[str]:
    """What the user should know of samples that stand in two parts of the data."""
    notices = tested_on_training(
        request.forget, request.retain, request.test_forget, request.test_retain
    )
    copies = copies_kept(request.forget, request.retain)
    if copies:
        notices.append(
            f"{copies} retained samples are exact copies of forget samples: what is to be forgotten"
            " stays in the data to keep; forget them as well"
        )
    return notices


def check_classes(request: Request, head: tuple[Tensor, Tensor] | None, model: nn.Module) -> None:
    """Refuse classes of the data that are other classes of the model.

    Raises:
        UsageError: the names or the number of classes do not fit; says how to join them.
        DataError: labels beyond the outputs.
    """
    if request.kind != "class" or head is None:
        return
    parts = (request.forget, request.retain)
    known = [part.labels for part in parts if isinstance(part, LabelledSubset)]
    highest = max((max(labels, default=-1) for labels in known), default=-1)
    if highest >= max(2, len(head[0])):
        raise DataError(
            f"The data have the label {highest}, and the model has {len(head[0])} outputs: labels"
            f" run from 0 to {len(head[0]) - 1}. Check them, and the order of the classes."
        )
    if not request.class_names:
        return
    joined = join(request.class_names, names_of_model(model), len(head[0]))
    for label in request.classes:
        if joined.index[label] != label:
            name = request.class_names[label]
            raise UsageError(
                f"The data call {name!r} class {label}, and the model's class of that name is"
                f" {joined.index[label]}. Give Request.by_class(..., class_names=[...]) the names"
                " of the model's outputs in order."
            )


def unsteady(
    inner: nn.Module, feature_layer: FeatureLayer, first: Batch, method: EraserMethod
) -> list[str]:
    """Compare two passes; only a model that is random in evaluation mode pays for more than two
    samples.
    """
    inputs = example(first, inner)
    like = input_like(inner, inputs)
    one = read(inner, feature_layer, inputs)[0]
    two = max(
        (read(inner, feature_layer, inputs)[0] for _ in range(2)),
        key=lambda again: float((again - one).abs().max()),
    )
    if torch.equal(one, two):
        return []
    angle = "not measurable"
    spans = []
    for _ in range(2):
        moments = Moments(feature_layer.dim)
        moments.update(read(inner, feature_layer, place(first.inputs, like))[0])
        found = spectrum(moments)
        try:
            rank = method.rank_of(found)
        except (UsageError, DataError):
            break
        if rank is not None:
            spans.append(found.basis[:, :rank])
    if len(spans) == 2:
        angle = f"sin theta {sin_theta(*spans):.2e}"
    return [
        "the model is random in evaluation mode: two passes over the same samples differ by"
        f" {float((one - two).abs().max()):.2e} (removed span: {angle})"
    ]


def check_recognised(seen: Seen, head: tuple[Tensor, Tensor] | None, request: Request) -> None:
    """Labels or preprocessing are wrong when the model does not know the class it is to forget."""
    if request.kind != "class" or seen.labelled < 20 or head is None:
        return
    accuracy, classes = seen.hits / seen.labelled, max(2, len(head[0]))  # one output: yes or no
    if accuracy <= min(1.5 / classes, 1 / classes + 0.02):
        raise DataError(
            f"The model recognises {accuracy:.1%} of the {seen.labelled} labelled forget samples,"
            f" about chance for {classes} classes: labels or preprocessing look wrong. Check them,"
            " or pass --no-check-labels (check_labels=False)."
        )
