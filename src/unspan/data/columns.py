"""Which columns of a table hold the image or the text, the label and the id."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from unspan.errors import UsageError

_BINARY = {"binary", "large_binary"}
_TEXT = {"string", "large_string"}
_LABEL = re.compile("u?int[0-9]+|bool|string|large_string")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of the columns that hold the samples; None is left to `pick_columns`."""

    image: str | None = None
    text: str | None = None
    label: str | None = None
    id: str | None = None

    @property
    def sample(self) -> str:
        """The column of the image or the text."""
        return self.image or self.text or ""


def pick_columns(features: Mapping[str, Any], given: Columns) -> Columns:
    """Fill in the columns that the user left out, from the column types.

    Args:
        features: the features of a table, by column name.
        given: what the user said.

    Returns:
        `image` or `text`, never both; `label` or None.

    Raises:
        UsageError: a column that is missing or of the wrong type, or several that would do.
    """
    for name in (given.image, given.text, given.label, given.id):
        if name is not None and name not in features:
            raise UsageError(f"no column {name!r}: the columns are {', '.join(features)}")
    if given.image and given.text:
        raise UsageError("give an image column or a text column, not both")
    label = given.label or label_column(features)
    if label and not _is_label(features[label]):
        raise UsageError(
            f"column {label!r} holds no labels: choose one of integers or text among"
            f" {', '.join(features)}"
        )
    if given.image and not (
        _is_image(features[given.image]) or _dtype(features[given.image]) in _BINARY
    ):
        raise UsageError(
            f"column {given.image!r} holds no encoded images: the columns are {', '.join(features)}"
        )
    if given.text and _dtype(features[given.text]) not in _TEXT:
        raise UsageError(
            f"column {given.text!r} holds no text: the columns are {', '.join(features)}"
        )
    images = [name for name, feature in features.items() if _is_image(feature)]
    texts = [
        name for name, f in features.items() if _dtype(f) in _TEXT and name not in (label, given.id)
    ]
    if given.image or given.text:
        return replace(given, label=label)
    if len(images) > 1:
        raise UsageError(f"several image columns: choose one of {', '.join(images)}")
    if images or texts:
        return replace(
            given,
            image=images[0] if images else None,
            text=None if images else _text_column(texts),
            label=label,
        )
    raise UsageError(f"no image or text column among {', '.join(features)}: name the one to use")


def _text_column(texts: list[str]) -> str:
    """The column called text, or the only one: an id of letters is a text, too."""
    if "text" in texts:
        return "text"
    if len(texts) > 1:
        raise UsageError(
            f"several text columns: choose one of {', '.join(texts)} (--text-column, text_column=)"
        )
    return texts[0]


def label_column(features: Mapping[str, Any]) -> str | None:
    """The only ClassLabel column, or "label", or "labels".

    Raises:
        UsageError: several would do.
    """
    classes = [name for name, one in features.items() if names_of_feature(one) is not None]
    candidates = classes or [
        name for name in ("label", "labels") if name in features and _is_label(features[name])
    ]
    if "label" in candidates:
        return "label"
    if len(candidates) > 1:
        raise UsageError(f"several label columns: choose one of {', '.join(candidates)}")
    return candidates[0] if candidates else None


def names_of_feature(feature: Any) -> list[str] | None:
    """Class names by index of a ClassLabel column; None for a column of any other kind."""
    return getattr(feature, "names", None)


def _dtype(feature: Any) -> str:
    return str(getattr(feature, "dtype", ""))


def _is_label(feature: Any) -> bool:
    return _LABEL.fullmatch(_dtype(feature)) is not None


def _is_image(feature: Any) -> bool:
    return type(feature).__name__ == "Image" or (
        isinstance(feature, Mapping) and set(feature) == {"bytes", "path"}
    )
