"""Does a file of `unspan stats` tell who was in it? Membership by the moments, CIFAR-10, All-CNN, d
= 96, mean over ten classes.

A file is made of n training images a class; members are these, non-members are n others that the
network was trained on as well. The attacker knows a sample's features and has 1,000 further images
of the class. AUC of the likelihood ratio between both Gaussians (`moments`), of its linear part
(`mean`), of the densities that quantiles and the correlations of normal scores give (`quantiles`),
and of these and the moments together (`file`).
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from survive import features
from torch import Tensor

from unspan.erasers.quantiles import QUANTILE_LEVELS, normal_scores
from unspan.metrics.score import auc_reading

RIDGE = 1e-4  # on the variances, which are about 0.1
NAMES = ("mean", "moments", "quantiles", "file")


def attack(z: Tensor, n: int, generator: torch.Generator) -> list[float]:
    """AUC of each attack on one class, in the order of `NAMES`."""
    order = torch.randperm(len(z), generator=generator)
    members, others, own = z[order[:n]], z[order[n : 2 * n]], z[order[-1000:]]
    asked = [members, others]
    (mean, spread), (near, usual) = (
        (part.mean(0), part.T.cov() + RIDGE * torch.eye(z.shape[1])) for part in (members, own)
    )
    file, known = (
        torch.distributions.MultivariateNormal(*pair) for pair in ((mean, spread), (near, usual))
    )
    moments = [file.log_prob(part) - known.log_prob(part) for part in asked]
    quantiles = [density(part, members) - density(part, own) for part in asked]
    direction = torch.linalg.solve(usual, mean - near)
    ratios = [
        [part @ direction for part in asked],
        moments,
        quantiles,
        [one + two for one, two in zip(moments, quantiles)],
    ]
    return [auc_reading("", *pair).value for pair in ratios]


def density(z: Tensor, fit: Tensor) -> Tensor:
    """Log density `[n]` of features, up to a constant, by what a file holds of the rows `fit`: a
    Gaussian of the normal scores, and their slope in every feature.
    """
    held = torch.quantile(fit, QUANTILE_LEVELS, dim=0).mT.contiguous()
    normal = normal_scores(fit, held).T.cov() + RIDGE * torch.eye(z.shape[1])
    step = 1e-3 * fit.std(0)
    slope = (normal_scores(z + step, held) - normal_scores(z - step, held)) / (2 * step)
    gaussian = torch.distributions.MultivariateNormal(
        torch.zeros(z.shape[1], dtype=z.dtype), normal
    )
    return gaussian.log_prob(normal_scores(z, held)) + slope.clamp(1e-3, 1e3).log().sum(1)


def main() -> None:
    fit = features("cifar10-allcnn", Path("build/survive"))["train"]
    generator, rows = torch.Generator().manual_seed(0), []
    for n in (100, 200, 500, 1000, 2000):
        areas = torch.tensor(
            [
                attack(fit.features[fit.labels == label].double(), n, generator)
                for label in range(10)
            ]
        )
        rows.append(
            {"samples a class": n}
            | {f"AUC, {name}": round(float(area), 3) for name, area in zip(NAMES, areas.mean(0))}
        )
        print(rows[-1], flush=True)
    Path("results/statistics-leak.json").write_text(
        json.dumps({"command": "python experiments/statistics_leak.py", "rows": rows}, indent=1)
        + "\n",
        "utf-8",
    )


if __name__ == "__main__":
    main()
