"""Few-shot relearning: how many examples of the forgotten class bring it back into a classifier of the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unspan.metrics.outputs import Outputs
from unspan.metrics.score import Reading

SHOTS = (1, 5, 10, 50)
_DRAWS, _RETAINED, _RIDGE = 20, 5000, 1e-2


def few_shot(fit: Outputs, test: Outputs, seed: int = 0, *, shots: Sequence[int] = SHOTS, draws: int = _DRAWS) -> list[Reading]:
    """Two attackers for every number m of forget examples, averaged over draws of the examples.

    `prototype`: nearest class mean on standardised features, the forgotten class's mean taken from m examples.
    `refit`: a ridge-regularised linear discriminant fitted on at most 5,000 retained rows and the m examples; classes
    weigh the same, and the shared covariance is that of the retained rows.

    Args:
        fit: labelled outputs; the retained rows and m forget rows are used.
        test: outputs the attacker is judged on.
        seed: of the draws.
        shots: numbers of examples of each forgotten class; those that exceed what there is are left out.
        draws: how often examples are drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    rest = (~fit.forget).nonzero()[:, 0]
    rest = rest[torch.randperm(len(rest), generator=generator)[:_RETAINED]]
    x = fit.features[rest].double()
    mean, scale = x.mean(0), x.std(0).clamp_min(1e-9)
    x, labels = (x - mean) / scale, fit.labels[rest]
    kept = [c for c in labels.unique().tolist() if c >= 0]
    gone = [c for c in fit.labels[fit.forget].unique().tolist() if c >= 0 and c not in kept]
    if not gone or len(kept) < 2:
        return []
    means = torch.stack([x[labels == c].mean(0) for c in kept])
    centred = torch.cat([x[labels == c] - m for c, m in zip(kept, means, strict=True)])
    covariance = centred.mT @ centred / len(centred)
    whiten = torch.linalg.cholesky(covariance + _RIDGE * torch.eye(len(covariance), dtype=torch.float64) * covariance.diagonal().mean())
    asked = (test.features.double() - mean) / scale
    spaces = {"prototype": (lambda z: z), "refit": (lambda z: torch.linalg.solve_triangular(whiten, z.mT, upper=False).mT)}
    examples = {c: ((fit.features[(fit.labels == c) & fit.forget].double() - mean) / scale) for c in gone}
    classes, found = torch.tensor(kept + gone), []
    for name, space in spaces.items():
        queries, known, own = space(asked), space(means), {c: space(rows) for c, rows in examples.items()}
        for m in shots:
            if any(len(rows) < m for rows in own.values()):
                continue
            hit = torch.zeros(len(test), dtype=torch.float64)
            spread = []
            for _ in range(draws):
                drawn = torch.stack([rows[torch.randperm(len(rows), generator=generator)[:m]].mean(0) for rows in own.values()])
                right = (classes[_nearest_mean(queries, torch.cat([known, drawn]))] == test.labels).double()
                hit += right / draws
                spread.append(float(right[test.forget].mean()))
            retain = float(hit[~test.forget].mean()) if bool((~test.forget).any()) else None
            found.append(Reading(attack=f"few-shot {name}, {m} example{'s' if m > 1 else ''}", unit="share", forget=hit[test.forget], retain=retain, detail={"shots": m, "draws": draws, "least": min(spread), "most": max(spread)}))
    return found


def shots_to(curve: Sequence[Reading], target: float) -> int | None:
    """Fewest examples with which a curve reaches an accuracy; None when it does not."""
    reached = [int(one.detail["shots"]) for one in curve if one.value >= target]
    return min(reached) if reached else None


def _nearest_mean(x: Tensor, means: Tensor) -> Tensor:
    return torch.addmm(-means.square().sum(1) / 2, x, means.mT).argmax(1)
