"""Redraw: photos of one person get random embeddings in an embedding model. Two of them are then no
more alike than photos of two strangers.

Idea: speaker verification asks whether an embedding is a given person's or anybody's, by Gaussians
for how embeddings vary between and within people. Their parameters come from other people, so that
three samples of the person are enough. Embeddings that are taken for the person's are replaced by
draws from how people vary. A secret key and the embedding itself choose the draw: another photo of
the person gets another one, the same photo the same. All other embeddings pass unchanged.
Formula: recognised where `log N(z; M, W + P) - log N(z; mu, W + B) > t`. mu is the mean of all
embeddings. B is their covariance between people, W within one. f is the mean of the m samples.
`A = B (B + W / m)^-1`. `M = mu + A (f - mu)`. `P = B - A B`. The threshold t lets `false_positives`
of the others in. Then `z -> mu + s C^1/2 R sqrt(2) cos(F (z - mu) + phi)`, at the
length of z. C is the covariance of all embeddings, s is `spread`. The frequencies F, the phases phi
and the rotation R come from the key. F is so high that photos of one person get unrelated phases.
Needs: 3 samples of the person or more, and retained samples, best of 20 people or more and labelled
by person. A file of their statistics does too (`unspan stats`); it knows people by 20 samples or
more.
Cost: one forward pass over each; three matrices `[d, d]`.
Typical: no settings. A topic in a model of text embeddings is erased likewise: read topic for
person, and text for photo. `false_positives=0.02` for a topic as broad as sports.
Fails: whoever holds the file knows who was erased, since the gate in it recognises the person.
Photos that the gate misses stay as they were. Whoever asks twice, with an altered copy of a photo,
sees the answers part. Whoever averages the answers to strongly altered copies of a photo,
identifies the person, since the gate misses some of them. With `spread` above 1 two photos of the
person are less alike than those of strangers, which is a trace. A network identifies people whom it
never saw: to retrain it without a person does not remove them.
Source: this project. The gate is the two-covariance model of Brümmer and de Villiers, Odyssey 2010.
Deviates: none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from unspan.erasers import Redrawer
from unspan.erasers.keyed import keyed_generator
from unspan.erasers.linalg import root
from unspan.erasers.two_covariance import People, log_likelihood_ratio, people
from unspan.errors import DataError, InconclusiveError, UsageError
from unspan.extraction.statistics import reservoir
from unspan.extraction.statistics.matching import check_width
from unspan.methods.base import EraserMethod, Fit, FitContext
from unspan.methods.redrawing.others import crowd_of
from unspan.metrics.score import auc_reading
from unspan.system.memory import require_square

MIN_SAMPLES = 3  # of the person
_MAX_FORGET = 20_000  # embeddings in memory
_RADIANS = 8.0  # by which phases differ between two photos of a person, a standard deviation


@dataclass(frozen=True, kw_only=True)
class Redraw(EraserMethod):
    """Settings of redraw.

    Attributes:
        false_positives: share of the retained samples that is taken for the person's. More lets
            fewer of the person's photos pass and moves more of the others.
        spread: how far new embeddings lie from the mean, in deviations of all people.
        statistics: `retain` reads the retain set; a path is a file of `unspan stats`.
    """

    false_positives: float = 0.002
    spread: float = 1.3
    statistics: str = "retain"
    name: ClassVar[str] = "redraw"
    paper: ClassVar[str] = "this project"
    search: ClassVar[dict[str, tuple[Any, ...]]] = {"false_positives": (0.002, 0.005, 0.01)}
    stronger: ClassVar[tuple[str, ...]] = ("false_positives",)
    one_vector: ClassVar[bool] = True
    embeddings_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.false_positives <= 0.5:
            raise UsageError(f"false_positives={self.false_positives}: use 0 < share <= 0.5.")
        if not 0 < self.spread < math.inf:
            raise UsageError(f"spread={self.spread}: use a number above 0.")
        if not isinstance(self.statistics, str):
            raise UsageError(f"statistics={self.statistics!r}: use retain, or a file.")

    @property
    def needs(self) -> frozenset[str]:
        """Which data it reads."""
        return frozenset({"forget", "retain"} if self.statistics == "retain" else {"forget"})

    def check(self, dim: int) -> None:
        """Refuse features so wide that `[d, d]` matrices do not fit, and statistics of others."""
        require_square("Redraw", dim, matrices=10)
        if self.statistics != "retain":
            check_width(self.statistics, dim)

    def fit(self, context: FitContext) -> Fit:
        """Fit the gate to the samples of the person, and draw the rest by the key.

        Raises:
            UsageError: there is no retain set, or the file is of another model.
            DataError: fewer than three samples that differ, or the file describes fewer than two
                others.
            InconclusiveError: the gate recognises fewer than half of the samples.
        """
        own = reservoir(context.forget, _MAX_FORGET)[0].double()
        different = len(own.unique(dim=0))
        if different < MIN_SAMPLES:
            raise DataError(
                f"redraw needs at least {MIN_SAMPLES} samples of the person that differ, and there"
                f" are {different}. Give more, or use method esc, which hides less."
            )
        crowd = crowd_of(self.statistics, context, own)
        others = crowd.embeddings
        everyone = people(crowd.others, own)
        eraser = self._eraser(everyone, own, others, keyed_generator(context.key, self.name))
        recognised = float(eraser.recognised(own).double().mean())
        if recognised < 0.5:
            raise InconclusiveError(
                f"redraw recognises {recognised:.0%} of the {len(own)} samples, and nothing was"
                " changed: they have too little in common (several people, wrong preprocessing), or"
                " others look alike. Raise false_positives to widen the gate, or use method esc,"
                " which hides less."
            )
        told = auc_reading("gate", eraser.scores(own), eraser.scores(others))
        report = {
            "told": float(told.forget.mean()),
            "recognised": recognised,
            "moved": float(eraser.recognised(others).double().mean()),
            "people": everyone.known,
        }
        return Fit(eraser, report, forget_used=len(own), retained_used=crowd.count)

    def _eraser(
        self, everyone: People, own: Tensor, others: Tensor, generator: torch.Generator
    ) -> Redrawer:
        """The eraser.

        Args:
            everyone: how embeddings vary.
            own: `[m, d]` embeddings of the person.
            others: `[n, d]` of others.
            generator: of the keyed choices.
        """
        dim = len(everyone.mean)
        quadratic, direction = log_likelihood_ratio(everyone, own)
        waves = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
        frequencies = _RADIANS / math.sqrt(2 * dim) * waves @ root(everyone.within, -0.5)
        phases = 2 * math.pi * torch.rand(dim, generator=generator, dtype=torch.float64)
        turned = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
        rotation = torch.linalg.qr(turned)[0]
        eraser = Redrawer(
            mean=everyone.mean,
            quadratic=quadratic,
            direction=direction,
            threshold=torch.zeros((), dtype=torch.float64),
            frequencies=frequencies,
            phases=phases,
            mixing=self.spread * root(everyone.total, 0.5) @ rotation,
        )
        eraser.threshold = torch.quantile(eraser.scores(others), 1 - self.false_positives)
        return eraser
