"""RMIA, offline: is the audited model more confident than models that never saw the sample?"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unspan.errors import DataError, UsageError

DEFAULT_A = 0.3  # of the authors, where it is not chosen


def rmia_scores(
    audited: Tensor,
    references: Tensor,
    audited_population: Tensor,
    reference_population: Tensor,
    *,
    a: float = DEFAULT_A,
    gamma: float = 1.0,
) -> Tensor:
    """Share of population samples z that x dominates: `P_z[(p_x / q_x) / (p_z / q_z) > gamma]`,
    `[n]` in [0, 1].

    p is the probability of the true class in the audited model and `q = ((1 + a) p_out + 1 - a) /
    2`, where `p_out` is the mean over reference models trained without x (and without z). Higher
    means member. Computed in logarithms.
    Source: Zarifzadeh et al., ICML 2024, eq. 7 and appendix (offline).

    Args:
        audited: `[n]` natural log-probabilities of the true class in the audited model.
        references: `[m, n]` the same in 1 to 4 or more reference models.
        audited_population: `[z]` log-probabilities of population samples, trained on by no model.
        reference_population: `[m, z]`.
        a: how close `p_out` is to the mean over models with and without x, in [0, 1]; 1 trusts it
            as it is.
        gamma: at least 1.

    Raises:
        UsageError: a or gamma out of range.
        DataError: shapes do not fit, an empty population, or a value that is no log-probability.
    """
    if not 0 <= a <= 1 or gamma < 1:
        raise UsageError(f"a={a}, gamma={gamma}: use 0 <= a <= 1 and gamma >= 1.")
    shapes = (audited.shape, audited_population.shape)
    if (
        references.ndim != 2
        or len(references) == 0
        or (references.shape[1:], reference_population.shape[1:]) != shapes
        or len(references) != len(reference_population)
        or shapes[1][0] == 0
    ):
        parts = (audited, references, audited_population, reference_population)
        got = [list(part.shape) for part in parts]
        raise DataError(f"RMIA needs [n], [m, n], [z] and [m, z] with m, z >= 1; got {got}.")
    if any(
        bool(part.isnan().any() or (part > 1e-6).any())
        for part in (audited, references, audited_population, reference_population)
    ):
        raise DataError("RMIA takes natural log-probabilities: at most 0, and never NaN.")
    x = _ratio(audited, references, a)
    z = _ratio(audited_population, reference_population, a).sort().values
    return torch.searchsorted(z, (x - math.log(gamma)).contiguous(), right=False).double() / len(z)


def rmia_leave_one_out(
    members: tuple[Tensor, Tensor], population: tuple[Tensor, Tensor], *, a: float = DEFAULT_A
) -> tuple[Tensor, Tensor]:
    """RMIA scores of members `[n]`, and of the population itself `[z]`, gamma 1.

    Each sample of the population is compared with the others of it, so that none has to be set
    aside. Where members and population do not differ, the AUC of the two is 1/2.

    Args:
        members: log-probabilities `[n]` in the audited model and `[m, n]` in the references.
        population: `[z]` and `[m, z]`, of samples that no model was trained on; z at least 2.
        a: as in `rmia_scores`.
    """
    size = len(population[0])
    if size < 2:
        raise DataError(f"A population of {size} leaves no other sample to compare with.")
    own = rmia_scores(*population, *population, a=a)  # no sample dominates itself
    return rmia_scores(*members, *population, a=a), own * size / (size - 1)


def _ratio(audited: Tensor, references: Tensor, a: float) -> Tensor:
    """`log(p / q)`."""
    out = references.double().exp().mean(0)
    return audited.double() - torch.log(((1 + a) * out + 1 - a) / 2).clamp_min(-700)
