"""Does a file of `unspan stats` tell who was in it? Membership by the moments, CIFAR-10, All-CNN, d = 96, mean over ten classes.

A file is made of n training images a class; members are these, non-members are n others that the network was trained on as well. The
attacker knows a sample's features and has 1,000 further images of the class. AUC of the likelihood ratio between both Gaussians
(`moments`), and of its linear part (`mean`).
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from survive import features
from torch import Tensor

from unspan.metrics.score import auc_reading

RIDGE = 1e-4  # on the variances, which are about 0.1


def attack(z: Tensor, n: int, generator: torch.Generator) -> tuple[float, float]:
    order = torch.randperm(len(z), generator=generator)
    members, others, own = z[order[:n]], z[order[n : 2 * n]], z[order[-1000:]]
    (mean, spread), (near, usual) = ((part.mean(0), part.T.cov() + RIDGE * torch.eye(z.shape[1])) for part in (members, own))
    direction = torch.linalg.solve(usual, mean - near)
    file, known = (torch.distributions.MultivariateNormal(*pair) for pair in ((mean, spread), (near, usual)))
    ratio = [file.log_prob(part) - known.log_prob(part) for part in (members, others)]
    return auc_reading("", members @ direction, others @ direction).value, auc_reading("", *ratio).value


def main() -> None:
    fit = features("cifar10-allcnn", Path("build/survive"))["train"]
    generator, rows = torch.Generator().manual_seed(0), []
    for n in (100, 200, 500, 1000, 2000):
        areas = torch.tensor([attack(fit.features[fit.labels == label].double(), n, generator) for label in range(10)])
        rows.append({"samples a class": n, "AUC, mean": round(float(areas[:, 0].mean()), 3), "AUC, moments": round(float(areas[:, 1].mean()), 3)})
        print(rows[-1], flush=True)
    Path("results/statistics-leak.json").write_text(json.dumps({"command": "python bench/statistics_leak.py", "rows": rows}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
