"""Accuracy of the model as given and as erased, on the splits that `--eval` names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from unspan.errors import DataError, UsageError

if TYPE_CHECKING:
    from unspan.artifact.deletion import Deletion
    from unspan.data.request import Request
    from unspan.run import Run


def splits_to_measure(o: dict[str, Any], sources: dict[str, Any]) -> list[str]:
    """The splits that `--eval` names, each there."""
    if o["evaluate"] == "none":
        return []
    if o["evaluate"] == "auto":
        return ["test" if "test" in sources else o["split"]]
    unknown = [name for name in o["evaluate"].split(",") if name not in sources]
    if unknown:
        raise UsageError(f"--eval {','.join(unknown)}: the data has {', '.join(sources)}.")
    return str(o["evaluate"]).split(",")


def public_names(
    o: dict[str, Any], opened: Any, splits: Request, sources: dict[str, Any]
) -> list[str] | None:
    """Class names for the receipt; none where one of them is the name of the data to forget."""
    if splits.kind == "class":
        return opened.class_names or names_of(sources, opened)
    if o["forget_data"] is None or opened.class_names is None:
        return opened.class_names
    asked = {part.casefold() for part in Path(o["forget_data"]).parts}
    named = any(name.casefold() in asked for name in opened.class_names)
    return None if named else opened.class_names


def names_of(sources: dict[str, Any], opened: Any) -> list[str] | None:
    """Class names of the data, else those of the model."""
    return getattr(next(iter(sources.values()), None), "class_names", None) or opened.class_names


def _earlier(deletion: Deletion, splits: Request) -> set[int]:
    """Classes that earlier requests on this model erased: they are not data to keep."""
    return {
        label for one in deletion.receipt["previous"] for label in one["request"]["classes"]
    } - set(splits.classes)


def _apart(data: Any, classes: set[int]) -> tuple[Any, Any]:
    """The samples of other classes, and those of `classes`; each None when there are none."""
    from torch.utils.data import Subset

    from unspan.data.request import labels_of

    if not classes or data is None or not _labelled(data):
        return data, None
    labels = labels_of(data)
    split = [
        [i for i, label in enumerate(labels) if (label in classes) is gone]
        for gone in (False, True)
    ]
    kept, gone = (Subset(data, rows) if rows else None for rows in split)
    return kept, gone


def measure(
    wanted: list[str],
    o: dict[str, Any],
    original: Any,
    deletion: Deletion,
    splits: Request,
    sources: dict[str, Any],
    run: Run,
) -> list[dict[str, Any]]:
    """Accuracy of the model as given and as erased, by split; refused when the original is at
    chance.
    """
    from unspan.erasure.evaluation import Part, accuracy, rows
    from unspan.erasure.reading import pair_of
    from unspan.models import classes_of

    if deletion.receipt["placement"]["feature_layer"]["head"] is None:
        return []
    pair, measured = pair_of(original, deletion.model), []
    for name in wanted:
        parts = splits if name == o["split"] else splits.with_test(sources[name])
        forget, retain = (
            (parts.forget, parts.retain)
            if name == o["split"]
            else (parts.test_forget, parts.test_retain)
        )
        kept, gone = _apart(retain, _earlier(deletion, splits))
        for part, data in ((Part.FORGET, forget), (Part.EARLIER, gone), (Part.RETAIN, kept)):
            if data is not None and _labelled(data):
                what = f"{name} {part.value}"
                measured.append(accuracy(pair, data, what, run, part))
    classes = classes_of(original) or 0
    kept = [row for row in measured if row.part == Part.RETAIN and row.n >= 20]
    if (
        o["check_labels"]
        and classes
        and kept
        and not deletion.receipt["previous"]
        and all(row.before <= min(1.5 / classes, 1 / classes + 0.02) for row in kept)
    ):
        raise DataError(
            f"The original model is right on {kept[0].before:.1%} of the retained samples, about"
            f" chance for {classes} classes: labels or preprocessing look wrong (--mean, --std,"
            " --size). The output was not written; --no-check-labels goes on."
        )
    return rows(measured)


def _labelled(data: Any) -> bool:
    from unspan.data.request import labels_of

    try:
        return min(labels_of(data), default=-1) >= 0
    except UsageError:
        return False
