"""Class names: compared in one form, and read from data and models."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from torch.utils.data import ConcatDataset, DataLoader, Subset

from unspan.data.images import printable
from unspan.errors import UsageError

_SHOWN = 5


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


def listed_names(data: Any) -> Any:
    """The attribute `class_names` of data, as it stands there; None where there is none."""
    return getattr(data, "class_names", None)


def _stored_names(data: Any) -> list[str] | None:
    index = getattr(data, "class_to_idx", None)
    if isinstance(index, Mapping) and sorted(index.values()) == list(range(len(index))) and index:
        return sorted((str(name) for name in index), key=lambda name: index[name])
    return _name_list(listed_names(data)) or _name_list(getattr(data, "classes", None))


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


def class_name(label: int, names: Sequence[str] | None) -> str:
    """What a class is called."""
    return names[label] if names and 0 <= label < len(names) else f"class {label}"
