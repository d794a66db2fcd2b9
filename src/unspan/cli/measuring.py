"""Accuracy of the model as given and as erased, on the splits that `--eval` names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from unspan.errors import DataError, UsageError
from unspan.system.steps import Step

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


def step_of(split: str) -> Step:
    """The step in which a split is measured."""
    return Step("measuring", split)


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
    from unspan.data.class_names import listed_names

    return listed_names(next(iter(sources.values()), None)) or opened.class_names


def _earlier(deletion: Deletion, splits: Request) -> set[int]:
    """Classes that earlier requests on this model erased: they are not data to keep."""
    return {
        label for one in deletion.receipt["previous"] for label in one["request"]["classes"]
    } - set(splits.classes)


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
    from unspan.data.class_parts import apart, has_labels
    from unspan.erasure.evaluation import Part, accuracy, rows
    from unspan.erasure.reading import pair_of
    from unspan.extraction import FeatureLayer

    if FeatureLayer.from_dict(deletion.receipt["placement"]["feature_layer"]).embeds:
        return []
    pair, measured = pair_of(original, deletion.model), []
    for name in wanted:
        run.begin(step_of(name))
        forget, retain = _parts(name, o["split"], splits, sources)
        kept, gone = apart(retain, _earlier(deletion, splits))
        for part, data in ((Part.FORGET, forget), (Part.EARLIER, gone), (Part.RETAIN, kept)):
            if data is not None and has_labels(data):
                what = f"{name} {part.value}"
                measured.append(accuracy(pair, data, what, run, part))
    if o["check_labels"] and not deletion.receipt["previous"]:
        _refuse_chance(outputs_of(original, deletion), measured)
    return rows(measured)


def outputs_of(original: Any, deletion: Deletion) -> int:
    """How many classes the model tells apart; 0 where that is not known."""
    from unspan.extraction import FeatureLayer, head_parameters, unwrap
    from unspan.models import classes_of

    layer = FeatureLayer.from_dict(deletion.receipt["placement"]["feature_layer"])
    if layer.scores:
        return layer.dim
    head = head_parameters(unwrap(original), layer)
    return classes_of(original) or 0 if head is None else max(2, len(head[0]))


def _parts(name: str, own: str, splits: Request, sources: dict[str, Any]) -> tuple[Any, Any]:
    """What of a split is to be forgotten, and the rest; `own` is the split of the request."""
    if name == own:
        return splits.forget, splits.retain
    tested = splits.with_test(sources[name])
    return tested.test_forget, tested.test_retain


def _refuse_chance(classes: int, measured: list[Any]) -> None:
    """Refuse an original that is no better than chance on what is kept: labels look wrong."""
    from unspan.erasure.evaluation import Part

    kept = [row for row in measured if row.part == Part.RETAIN and row.n >= 20]
    if not classes or not kept:
        return
    if all(row.before <= min(1.5 / classes, 1 / classes + 0.02) for row in kept):
        raise DataError(
            f"The original model is right on {kept[0].before:.1%} of the retained samples, about"
            f" chance for {classes} classes: labels or preprocessing look wrong (--mean, --std,"
            " --size). The output was not written; --no-check-labels goes on."
        )
