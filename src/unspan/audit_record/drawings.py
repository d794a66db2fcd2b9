"""Numbers behind the drawings of a report; shares from 0 to 1 unless they say otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class LayerReading:
    """What a probe reads at one layer: shares of forgotten test samples."""

    layer: str
    before: float
    after: float
    reference: float | None


@dataclass(frozen=True)
class ClassAccuracy:
    """Accuracy of the model itself on one class, with the 95 % interval after."""

    name: str
    forget: bool
    before: float
    after: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class ClassCosine:
    """Cosines between class means; None where a class has no samples."""

    classes: list[str]
    before: list[list[float | None]]
    after: list[list[float | None]]


@dataclass(frozen=True)
class LayerChange:
    """Relative change of the weights of one layer."""

    layer: str
    change: float


@dataclass(frozen=True)
class RelearningCurves:
    """Share of forgotten test samples recognised after so many examples, for each model."""

    shots: list[int]
    curves: dict[str, list[float]]


@dataclass(frozen=True)
class Embedding:
    """Features of the same samples in two dimensions: x, y, label."""

    classes: list[str]
    method: str
    before: list[tuple[float, float, int]]
    after: list[tuple[float, float, int]]


@dataclass(frozen=True)
class GradcamPicture:
    """A test image and the regions either model uses, as `data:image/png` addresses."""

    caption: str
    image: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Numbers behind the drawings; what could not be drawn is empty."""

    sweep: list[LayerReading] = field(default_factory=list)
    per_class: list[ClassAccuracy] = field(default_factory=list)
    cosine: ClassCosine | None = None
    layer_change: list[LayerChange] = field(default_factory=list)
    relearn: RelearningCurves | None = None
    embedding: Embedding | None = None
    gradcam: list[GradcamPicture] = field(default_factory=list)
