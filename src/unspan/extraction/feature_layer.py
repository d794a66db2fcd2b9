"""`FeatureLayer`: where the features of a model are read, and where an eraser sits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from unspan.erasers import Layout

Pool = Literal["cls", "mean", "gap", "last"]


@dataclass(frozen=True)
class FeatureLayer:
    """Where features are read and erased. Names are module paths; "" is the model itself.

    Attributes:
        head: the linear head, or None.
        reads: module whose input (head) or output (`output=True`) is the feature.
        output: features are an output rather than the head's input.
        key: entry of a dict-like output.
        pool: how tokens or maps become one vector a sample, when they are not already; `last` is
            the token whose scores the model returns, or the last one that is not padding.
        site: module at which the eraser sits; its output, or its input when `before`.
        before: the site is the head itself and the eraser runs on its input (no module output
            qualified).
        layout: which axis of the site's tensor holds the features.
        dim: d.
        affine: the site is a linear or convolution layer whose weights can absorb the map.
        whole: the site gives one vector a sample, for erasers that are not affine.
        keyword: name of the argument that carries the head's input, None where it is the first.
        shift: what the model adds to the scores of each class behind the head, [] for nothing.
        returned: where the output hands out the features themselves: keys from the outside in.
        scores: the features are the class scores of the model, since no linear head gives these.
    """

    head: str | None
    reads: str
    output: bool
    key: str | None
    pool: Pool | None
    site: str
    before: bool
    layout: Layout
    dim: int
    affine: bool
    whole: bool = False
    keyword: str | None = None
    shift: tuple[float, ...] = ()
    returned: tuple[tuple[str | int, ...], ...] = ()
    scores: bool = False

    @property
    def embeds(self) -> bool:
        """Whether the model gives features and no class scores."""
        return self.head is None and not self.scores

    @property
    def appended(self) -> bool:
        """Whether the eraser is a module behind the last one of a sequence that gives on a dict."""
        return self.key is not None and not self.site

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FeatureLayer:
        """From the JSON form of a receipt."""
        held = dict(values)
        held["shift"] = tuple(held.get("shift", ()))
        held["returned"] = tuple(tuple(path) for path in held.get("returned", ()))
        return cls(**held)

    def to_dict(self) -> dict[str, Any]:
        """JSON form, stored in receipts."""
        return asdict(self)


def at_head_input(layer: FeatureLayer) -> FeatureLayer:
    """The same feature layer with the input of its head as the site."""
    assert layer.head is not None
    return replace(layer, site=layer.head, before=True, layout="last", affine=False)
