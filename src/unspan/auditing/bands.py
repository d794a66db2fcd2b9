"""How much training alone varies: where one more retrained network would lie.

Networks retrained without the data differ by their seeds. Of few of them the deviation is known
badly, so it is moderated (Smyth 2004): mixed with the one that the test samples let expect, as if
that rested on `PRIOR_FREEDOM` more degrees of freedom. Of one network only the expected one is
known. Networks err on many of the same samples; how many is read from pairs of them, sample by
sample, and assumed for a single one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from unspan.metrics.score import Reading

PRIOR_FREEDOM = 8  # degrees of freedom behind the expected deviation
_OWN = 0.5  # of the variance over test samples, of a single network: others would not share it
_FLOOR = 0.02  # deviation that training adds, however many the samples
MOST_NETWORKS = 20  # retrained for an audit: more are not asked for
LEVEL = 0.05  # error of all intervals of an audit together


@dataclass(frozen=True)
class Band:
    """Where the value of one more retrained network lies, with 95 % over all intervals of an audit.

    Attributes:
        centre: mean of the networks given.
        half: from the centre to either end.
        deviation: between networks, moderated.
        freedom: degrees of freedom behind it.
        networks: that were given.
        intervals: how many bands one audit draws.
    """

    centre: float
    half: float
    deviation: float
    freedom: int
    networks: int
    intervals: int

    def samples_for(self, half: float, samples: int) -> int | None:
        """About how many test samples would make the band so narrow; None where no number would.

        The part of the deviation that training adds stays, however many there are.

        Args:
            half: wanted, from the centre to either end.
            samples: behind this band.
        """
        wanted = (self.deviation * half / self.half) ** 2 - _FLOOR**2
        now = self.deviation**2 - _FLOOR**2
        if wanted <= 0 or now <= 0:
            return None
        return math.ceil(samples * now / wanted)

    def networks_for(self, half: float) -> int | None:
        """How many retrained networks would make the band so narrow, if they differ as the given
        ones do; None where `MOST_NETWORKS` would not.

        Args:
            half: wanted, from the centre to either end.
        """
        for count in range(self.networks + 1, MOST_NETWORKS + 1):
            if _half(self.deviation, count, self.intervals) <= half:
                return count
        return None

    @property
    def low(self) -> float:
        """Lower end."""
        return self.centre - self.half

    @property
    def high(self) -> float:
        """Upper end."""
        return self.centre + self.half


def band(values: Sequence[float], own: float, intervals: int) -> Band:
    """The prediction band of one more retrained network.

    Args:
        values: of the retrained networks, at least one.
        own: variance over draws of the test samples that they do not share (`own_variance`).
        intervals: how many bands one audit draws (Bonferroni).
    """
    n = len(values)
    centre = sum(values) / n
    expected = own + _FLOOR**2
    squares = sum((value - centre) ** 2 for value in values)
    freedom = PRIOR_FREEDOM + n - 1
    variance = (PRIOR_FREEDOM * expected + squares) / freedom
    deviation = math.sqrt(variance)
    return Band(
        centre=centre,
        half=_half(deviation, n, intervals),
        deviation=deviation,
        freedom=freedom,
        networks=n,
        intervals=intervals,
    )


def own_variance(networks: Sequence[Sequence[Reading]]) -> float:
    """Variance of the advantage over draws of the test samples that a network does not share with
    the others: read from all pairs, sample by sample, by the strongest attack on one of the two.

    Args:
        networks: for each of them, at least one, what each attack of the attacker reads.
    """
    strongest = [max(range(len(own)), key=lambda at: own[at].advantage) for own in networks]
    if len(networks) == 1:
        return _OWN * networks[0][strongest[0]].sampling_variance
    pairs = list(itertools.permutations(range(len(networks)), 2))
    apart = (
        networks[one][strongest[one]].paired_variance(networks[other][strongest[one]])
        for one, other in pairs
    )
    return sum(apart) / len(pairs) / 2


def _half(deviation: float, networks: int, intervals: int) -> float:
    """Half of the band: Student's t, so that all bands together miss with probability `LEVEL`."""
    from scipy.special import stdtrit  # slow to import

    freedom = PRIOR_FREEDOM + networks - 1
    step = float(stdtrit(freedom, 1 - LEVEL / 2 / max(intervals, 1)))
    return step * deviation * math.sqrt(1 + 1 / networks)
