"""Which output of a model each class of the data is, told by name where there are names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from unspan.data.class_names import Names, composed
from unspan.data.images import printable
from unspan.errors import UsageError

_IMAGENET_ID = re.compile(r"n\d{8}")
_SHOWN = 5
_WAY_OUT = (
    "Give --classes FILE (class_names=[...] in Python) with the name of each output of the model,"
    " one a line, in order"
)


@dataclass(frozen=True)
class Joined:
    """Which output of a model each class of the data is.

    Attributes:
        index: output by class of the data.
        how: `name`; `number` where the names are the indices; or `position` where only the number
            of classes speaks for it.
    """

    index: list[int]
    how: str


def join(own: Sequence[str], known: Sequence[str] | None, outputs: int | None) -> Joined:
    """Join the classes of the data to the outputs of a model.

    By name where the model has names. Else by position, when there are as many classes as outputs
    and the names say nothing against it.

    Args:
        own: class names of the data, by label.
        known: names of the model's outputs, None when it has none.
        outputs: how many it has, None when unknown or without a head; 1 is a yes-no model.

    Raises:
        UsageError: a class of the data cannot be told from the others in the model.
    """
    classes = 2 if outputs == 1 else outputs
    if known is None:
        return _unnamed(own, classes, outputs)
    if classes is not None and len(known) != classes:
        raise UsageError(
            f"There are {len(known)} class names for the {outputs} outputs of the model."
            f" {_WAY_OUT}."
        )
    if list(map(composed, own)) == list(map(composed, known)):
        return Joined(list(range(len(own))), "name")
    search = Names(known)
    found = [search.find(name) for name in own]
    if None not in found:
        return Joined(_different(own, [index for index in found if index is not None]), "name")
    if _are_numbers(own, len(known)):
        return Joined([int(name) for name in own], "number")
    if len(own) == len(known) and _are_imagenet(own):
        return Joined(list(range(len(own))), "position")
    lost = [name for name, index in zip(own, found, strict=True) if index is None]
    raise UsageError(
        f"{len(lost)} of the {len(own)} class names of the data are not among the {len(known)} of"
        f" the model: {_some(lost)}; the model has {_some(known)}. Rename them, or give --classes"
        " FILE (class_names=[...] in Python) with the names of the outputs."
    )


def _unnamed(own: Sequence[str], classes: int | None, outputs: int | None) -> Joined:
    """As `join`, for a model without names."""
    if classes is not None and _are_numbers(own, classes):
        return Joined([int(name) for name in own], "number")
    if classes is None or classes == len(own):
        if classes is not None:
            _refuse_counted_names(own)
        return Joined(list(range(len(own))), "position")
    given = f"The data have {len(own)} class name{'s' * (len(own) != 1)} ({_some(own)})"
    if outputs == 1:
        raise UsageError(
            f"{given}, and the model gives one score a sample, which tells two classes apart and"
            " no more. Give it data of those two classes."
        )
    raise UsageError(
        f"{given} and the model {classes} outputs, and nothing says which output is which class."
        f" {_WAY_OUT}. Where the outputs are an embedding, pass --feature-layer output"
        " (feature_layer='output')."
    )


def _different(own: Sequence[str], found: list[int]) -> list[int]:
    for at, index in enumerate(found):
        if index in found[:at]:
            first = own[found.index(index)]
            raise UsageError(
                f"The classes {printable(first)!r} and {printable(own[at])!r} of the data are one"
                " class of the model. Merge them, or rename one."
            )
    return found


def _are_numbers(own: Sequence[str], classes: int) -> bool:
    """Names such as 0, 1, 2 that are the indices themselves.

    With more than ten classes folders sort as 0, 1, 10, 11, 2: then only all of them, in order,
    are sure.
    """
    if list(own) == [str(index) for index in range(classes)]:
        return True
    return classes <= 10 and set(own) <= {str(index) for index in range(classes)}


def _are_imagenet(own: Sequence[str]) -> bool:
    """Folders of ImageNet, whose sorted ids are the order of every published model."""
    return all(map(_IMAGENET_ID.fullmatch, own)) and list(own) == sorted(own)


def _refuse_counted_names(own: Sequence[str]) -> None:
    """Folders 0 to 11 sort as 0, 1, 10, 11, 2: position and number say different things."""
    if not all(name.isdecimal() for name in own):
        return
    numbers = [int(name) for name in own]
    if numbers != sorted(numbers):
        at = next(at for at in range(len(own) - 1) if numbers[at] > numbers[at + 1])
        raise UsageError(
            f"The class names of the data are numbers, and by name {own[at]} comes before"
            f" {own[at + 1]}: position and number disagree. {_WAY_OUT}."
        )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(printable(name) for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
