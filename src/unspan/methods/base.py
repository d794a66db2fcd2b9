"""What a method is: its declared capabilities, what it is given, and what it gives back.

A method is a frozen dataclass of settings, all with defaults, that derives from `EraserMethod` (it
fits a map on features) or `TrainedMethod` (it changes weights). What the library has to know of it
is declared here and nowhere probed.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from unspan.erasers import Eraser
from unspan.erasers.linalg import Spectrum
from unspan.errors import UsageError
from unspan.extraction.stream import FeatureStream, TensorFeatures
from unspan.system.target import Target
from unspan.training.context import Outcome, TrainingContext
from unspan.training.settings import Training

Need = Literal["forget", "forget_labels", "retain", "holdout"]
NEEDS: frozenset[str] = frozenset({"forget", "forget_labels", "retain", "holdout"})


@dataclass(frozen=True, kw_only=True)
class FitContext:
    """All that a method sees which fits a map on features.

    Attributes:
        forget: features of the forget set; read before those of the retain set.
        retain: features of the retain set; None where the method does not declare a need of them.
        head: float64 linear head, weight `[C, d]` and bias `[C]`; None where there is none.
        classes: labels of the request; empty where it is no class.
        earlier_classes: labels that earlier requests on this model erased.
        earlier_eraser: map of earlier requests that the features went through.
        key: secret of the request, for choices that nobody may predict.
        seed: of other random choices, where a method makes some.
        model: the network that the features come from; None where they are tensors.
        frozen_norms: its normalisation layers that keep their running statistics.
    """

    forget: FeatureStream
    retain: FeatureStream | None = None
    head: tuple[Tensor, Tensor] | None = None
    classes: tuple[int, ...] = ()
    earlier_classes: tuple[int, ...] = ()
    earlier_eraser: Eraser | None = None
    key: bytes = b""
    seed: int = 0
    model: nn.Module | None = None
    frozen_norms: frozenset[str] = frozenset()

    @classmethod
    def from_tensors(
        cls,
        features: Tensor,
        labels: Tensor | None = None,
        *,
        retain: Tensor | None = None,
        retain_labels: Tensor | None = None,
        batch_size: int = 64,
        **given: Any,
    ) -> FitContext:
        """The context of features in memory.

        Args:
            features: `[n, d]` of the forget set.
            labels: `[n]`, None where there are none.
            retain: `[m, d]` of the retain set, None where there is none.
            retain_labels: `[m]`.
            batch_size: samples that are handed out at a time.
            given: the other attributes, such as `head`, `classes` and `key`.
        """
        kept = None
        if retain is not None:
            kept = TensorFeatures(retain, retain_labels, batch_size)
        return cls(forget=TensorFeatures(features, labels, batch_size), retain=kept, **given)

    @property
    def dim(self) -> int:
        """d, the number of features."""
        return self.forget.dim

    def require_retain(self) -> FeatureStream:
        """Features of the retain set.

        Raises:
            UsageError: the context was made without one.
        """
        if self.retain is None:
            raise UsageError(
                'This method reads the retain set, and its FitContext has none. Add "retain" to'
                " `needs` of the method; in a FitContext of your own, give retain= as well."
            )
        return self.retain


@dataclass(frozen=True)
class Fit:
    """A fitted eraser, and what the receipt says of the fit.

    The library counts itself what was read; a method says what it used of that.

    Attributes:
        eraser: the map.
        report: figures of the method's own, as JSON values.
        warnings: for the user.
        forget_used: forget samples that decide the map; None leaves it out of the receipt.
        retained_used: the same of retained samples, or of those behind a file of statistics.
    """

    eraser: Eraser
    report: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    forget_used: int | None = None
    retained_used: int | None = None


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a user should know of a method before choosing it.

    Attributes:
        name: on the command line and in receipts.
        summary: one sentence.
        paper: where it was published.
        needs: which data it reads with its default settings.
        trains: whether it changes weights; otherwise it fits a map on features.
        text: idea, formula, needs, cost, typical settings, known failures, source.
    """

    name: str
    summary: str
    paper: str
    needs: frozenset[str]
    trains: bool
    text: str


class Method(ABC):
    """Declared capabilities that all methods share; derive from one of the two classes below.

    Attributes:
        name: on the command line and in receipts.
        paper: where it was published, in one line.
        target: what it aims at, unless a request says otherwise.
        reads_if_given: data that it reads where a request has them, beside `needs`.
        cost: what it takes beside reading the data once, in a few words.
        search: values of settings that `--tune` chooses from; the first of each is the default.
        revision: raised when the same settings give other results than before, or a default
            changes; a benchmark then computes the method's cells and trials anew.
        search_single: what `--tune` chooses from for single samples; empty means `search`.
        training: settings of the shared training loop; None where the method does not use it.
    """

    name: ClassVar[str]
    paper: ClassVar[str] = ""
    target: ClassVar[Target] = Target.LIKE_RETRAINED
    reads_if_given: ClassVar[frozenset[str]] = frozenset()
    cost: ClassVar[str] = ""
    revision: ClassVar[int] = 1
    search: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    search_single: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    training: Training | None = None

    @property
    @abstractmethod
    def needs(self) -> frozenset[str]:
        """Which data it reads: of `forget`, `forget_labels`, `retain`, `holdout`.

        A request without them is refused before the method is called.
        """

    @classmethod
    def for_single(cls, retained: int | None, has_holdout: bool) -> Mapping[str, Any]:
        """Settings for a request of single samples that names none; empty for the defaults.

        Args:
            retained: samples to keep; None where that is not known.
            has_holdout: the request has held-out samples.
        """
        return {}

    @property
    def stronger(self) -> tuple[str, ...]:
        """Settings that make it remove more when they are raised."""
        return ()

    @property
    def stronger_when_lower(self) -> tuple[str, ...]:
        """Settings that make it remove more when they are lowered."""
        return ()

    def limits(self, figures: Mapping[str, Any]) -> dict[str, float]:
        """Highest values that settings of `stronger` take, or that change anything.

        Args:
            figures: of a fit, as the receipt has them.
        """
        return {}

    def remedy(self, figures: Mapping[str, Any]) -> str:
        """What to do where a class is still named, as an order without a full stop; empty where
        the settings of `stronger` say it.

        Args:
            figures: of a fit, as the receipt has them.
        """
        return ""

    @property
    def one_process(self) -> bool:
        """Whether it works in one process only; several are then refused before it is called."""
        return False

    def check(self, dim: int) -> None:  # noqa: B027 - many methods have nothing to refuse
        """Refuse settings that are impossible for `dim` features, before data is read.

        Raises:
            UsageError: a setting is impossible.
            ResourceError: the fit would not fit in memory.
        """

    @classmethod
    def card(cls) -> Card:
        """The card of the method, written as the docstring of its module."""
        text = (sys.modules[cls.__module__].__doc__ or cls.__doc__ or "").strip()
        return Card(
            name=cls.name,
            summary=" ".join(text.split("\n\n")[0].split()),
            paper=cls.paper,
            needs=cls().needs,
            trains=issubclass(cls, TrainedMethod),
            text=text,
        )


class EraserMethod(Method):
    """A method that fits a map on the features: frozen settings with `fit`.

    Attributes:
        one_vector: the map is not affine, so it needs the features of a sample as one vector. It
            sits where they are; an affine map also works where features are maps or tokens.
        joins_retain: erased samples are moved among retained ones. These are read without the
            classes that earlier requests erased, and no class is moved a second time.
        embeddings_only: it changes what the features say of a sample altogether, so that a model
            with class scores is refused before data are read.
        projects: erasers are projections of original features, so that the directions of several
            requests are united; otherwise erasers follow one another.
    """

    target: ClassVar[Target] = Target.SUPPRESS
    one_vector: ClassVar[bool] = False
    joins_retain: ClassVar[bool] = False
    embeddings_only: ClassVar[bool] = False
    projects: ClassVar[bool] = False

    @property
    def reads_shuffled(self) -> bool:
        """Whether forget samples must come in random order."""
        return False

    @property
    def retain_limit(self) -> int | None:
        """Most retained samples that are read; None leaves it to `Run.max_samples`."""
        return None

    def rank_for(self, dim: int) -> int | None:
        """Directions that the settings remove of `dim` features; None where the data decide."""
        return None

    def rank_of(self, found: Spectrum) -> int | None:
        """Directions that it would remove of this spectrum; None where it removes no span."""
        return None

    @abstractmethod
    def fit(self, context: FitContext) -> Fit:
        """Read the features and return the eraser."""


class TrainedMethod(Method):
    """A method that changes weights: frozen settings with `unlearn`.

    Attributes:
        labelled: it reads the labels of its samples; one that reads none also takes samples
            without labels.
    """

    labelled: ClassVar[bool] = True

    @abstractmethod
    def unlearn(self, context: TrainingContext) -> Outcome:
        """Change `context.model` in place."""
