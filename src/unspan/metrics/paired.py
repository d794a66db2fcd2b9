"""How much was lost between two models on the same samples, with an interval."""

from __future__ import annotations

from math import inf, sqrt
from statistics import NormalDist

_HALVINGS = 60


def paired_bounds(lost: int, gained: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Lower and upper bound of the loss in accuracy, each of which holds with probability `level`.

    The loss is the share of samples that only the first model names, less the share that only the
    second names. The bounds invert the score test for paired proportions (Tango, Statistics in
    Medicine 17, 1998). The lower one is moreover never above the exact Clopper-Pearson bound of
    the share that only the first model names, where the score test is too bold; the upper one
    likewise. At the limit itself the lower bound is too high in at most 1.4 times `1 - level` of
    samples (all cases with up to 1,000 samples were counted), and less often below it.

    Args:
        lost: samples that the first model names and the second does not.
        gained: samples that the second model names and the first does not.
        n: samples in all; none gives the widest interval.
        level: of each bound; divide `1 - level` by the number of classes that are compared.

    Returns:
        Bounds in [-1, 1].

    >>> [round(end, 3) for end in paired_bounds(20, 0, 200)]
    [0.067, 0.14]
    """
    if n == 0:
        return -1.0, 1.0
    return _lower(lost, gained, n, level), -_lower(gained, lost, n, level)


def _lower(lost: int, gained: int, n: int, level: float) -> float:
    exact = lowest_share(lost, n, level)
    wanted = NormalDist().inv_cdf(level)
    low = -1.0
    high = (lost - gained) / n
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if score(lost, gained, n, middle) > wanted:
            low = middle
        else:
            high = middle
    return min(low, exact)


def lowest_share(hits: int, n: int, level: float = 0.95) -> float:
    """Exact lower bound (Clopper-Pearson) of a share; 20 of 20 is at least 0.861.

    >>> round(lowest_share(20, 20), 3)
    0.861
    """
    from scipy.special import betaincinv  # slow to import

    return float(betaincinv(hits, n - hits + 1, 1 - level)) if hits else 0.0


def score(lost: int, gained: int, n: int, loss: float) -> float:
    """Tango's statistic for a supposed loss; normal with variance 1 where it is the true one."""
    b = -lost - gained + (2 * n - lost + gained) * loss
    c = -gained * loss * (1 - loss)
    only_gained = (sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
    variance = n * (2 * only_gained + loss * (1 - loss))
    excess = lost - gained - n * loss
    if variance <= 0:
        return inf if excess > 0 else -inf if excess < 0 else 0.0
    return excess / sqrt(variance)
