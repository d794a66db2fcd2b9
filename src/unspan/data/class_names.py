"""Class names: compared in one form, read from data and models, and joined, so that a label
means the output of the model that has its name.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from torch.utils.data import ConcatDataset, DataLoader, Subset

from unspan.data.images import printable
from unspan.errors import UsageError

_IMAGENET_ID = re.compile(r"n\d{8}")
_SHOWN = 5
_WAY_OUT = (
    "Give --classes FILE (class_names=[...] in Python) with the name of each output of the model,"
    " one a line, in order"
)


def composed(text: str) -> str:
    """Text in the one Unicode form (NFC) in which names are compared."""
    return unicodedata.normalize("NFC", text)


def loosened(text: str) -> str:
    """A name without what people write differently: case, and spaces, underscores or hyphens."""
    plain = composed(composed(text).casefold()).strip()
    return re.sub(r"(?<=[^\W_])[\s_-]+(?=[^\W_])", " ", plain)


def _synonyms(name: str) -> list[str]:
    """Forms of each part of "tench, Tinca tinca"."""
    return [loosened(part) for part in name.split(",") if part.strip()]


class Names:
    """Class names by index, to be searched.

    A name is found as it stands (in one Unicode form), else without regard to case, spaces,
    underscores and hyphens, else as one of several parts between commas.
    """

    def __init__(self, names: Sequence[str]):
        self.names = list(names)
        self._forms: list[dict[str, list[int]]] = [defaultdict(list) for _ in range(3)]
        for index, name in enumerate(self.names):
            self._forms[0][composed(name)].append(index)
            self._forms[1][loosened(name)].append(index)
            for part in dict.fromkeys(_synonyms(name)):
                self._forms[2][part].append(index)

    def find(self, name: str) -> int | None:
        """The index of a name, or None.

        Raises:
            UsageError: several classes have that name.
        """
        for form, wanted in enumerate(([composed(name)], [loosened(name)], _synonyms(name))):
            found = sorted({index for one in wanted for index in self._forms[form].get(one, ())})
            if len(found) > 1:
                raise UsageError(
                    f"The class name {printable(name)!r} stands for {len(found)} classes, "
                    f"{', '.join(map(str, found[:_SHOWN]))}; give the index instead."
                )
            if found:
                return found[0]
        return None


def find_name(name: str, names: Sequence[str]) -> int | None:
    """As `Names.find`."""
    return _search(tuple(names)).find(name)


@lru_cache(maxsize=8)
def _search(names: tuple[str, ...]) -> Names:
    return Names(names)


def names_of(data: Any) -> list[str] | None:
    """Class names by label of a dataset, from `class_to_idx`, `class_names` or `classes`; None when
    it has none.
    """
    if isinstance(data, (Subset, DataLoader)):
        return names_of(data.dataset)
    if isinstance(data, ConcatDataset):
        found = [names_of(part) for part in data.datasets]
        return found[0] if all(one == found[0] for one in found) else None
    return _transformed(_stored_names(data), getattr(data, "target_transform", None))


def _stored_names(data: Any) -> list[str] | None:
    index = getattr(data, "class_to_idx", None)
    if isinstance(index, Mapping) and sorted(index.values()) == list(range(len(index))) and index:
        return sorted((str(name) for name in index), key=lambda name: index[name])
    return _name_list(getattr(data, "class_names", None)) or _name_list(
        getattr(data, "classes", None)
    )


def _transformed(names: list[str] | None, target_transform: Any) -> list[str] | None:
    """Names by the label that torchvision's `target_transform` makes of the stored one; None where
    it merges classes.
    """
    if names is None or not callable(target_transform):
        return names
    try:
        label = {int(target_transform(stored)): name for stored, name in enumerate(names)}
    except Exception:  # a user's function; samples that it fails on are reported when they are read
        return None
    return [label[at] for at in range(len(names))] if set(label) == set(range(len(names))) else None


def _name_list(found: Any) -> list[str] | None:
    """A list of different names, each of which may be several synonyms; else None."""
    if isinstance(found, str) or not isinstance(found, Sequence) or not found:
        return None
    names = [", ".join(one) if isinstance(one, tuple) else one for one in found]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        return None
    return names


def names_of_model(model: Any) -> list[str] | None:
    """Names of a model's outputs, from a transformers config (`id2label`) or an attribute; None
    when it has none.
    """
    by_index = getattr(getattr(model, "config", None), "id2label", None)
    if isinstance(by_index, Mapping) and by_index:
        names = [str(by_index[index]) for index in sorted(by_index, key=int)]
        return None if all(map(_is_placeholder, names)) else names
    return _name_list(getattr(model, "class_names", None)) or _name_list(
        getattr(model, "classes", None)
    )


def _is_placeholder(name: str) -> bool:
    return re.fullmatch(r"LABEL_\d+", name) is not None


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
        f" {_WAY_OUT}."
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


def class_name(label: int, names: Sequence[str] | None) -> str:
    """What a class is called."""
    return names[label] if names and 0 <= label < len(names) else f"class {label}"
