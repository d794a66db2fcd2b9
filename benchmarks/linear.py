"""CPU time of the linear probe's Newton method beside that of L-BFGS, to the same objective.

    python benchmarks/linear.py --json results/bench-linear.json

Both minimise the same objective on the same overlapping Gaussian classes, with C = 1, until it lies
within 3e-9 (relative) of the optimum. L-BFGS is scipy's, on float64 products, and is stopped at the
evaluation that gets there. Newton is run with the loosest tolerance that gets there. A ratio above
1 says how many times longer Newton takes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path

import numpy as np
import scipy.optimize
import torch

from unspan.metrics.logistic import Problem
from unspan.metrics.newton import minimise
from unspan.metrics.probes import moments

GAP = 3e-9  # of the objective
TOLERANCES = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
LIMIT = 20_000  # products, or evaluations


class Reached(Exception):  # noqa: N818
    """L-BFGS is there."""


def problem(n: int, d: int, classes: int) -> Problem:
    """Overlapping Gaussian classes in correlated features with an offset."""
    g = torch.Generator().manual_seed(0)
    y = torch.randint(classes, (n,), generator=g)
    mix = torch.linalg.qr(torch.randn(d, d, generator=g))[0] * torch.logspace(0, -1.5, d)[:, None]
    centres = 0.25 * torch.randn(classes, d, generator=g) * (torch.arange(d) < 60)
    x = (torch.randn(n, d, generator=g) + centres[y]) @ mix + 1
    used = torch.ones(n, dtype=torch.float64)
    return Problem(x, y, used, classes, *moments(x, used))


def newton(given: Problem, best: float) -> tuple[float | None, float]:
    """CPU seconds until the gap is reached, None where it is not, and the gap at the end."""
    gap = float("inf")
    for tolerance in TOLERANCES:
        begun = time.process_time()
        end = minimise(given, 1.0, seed=0, tolerance=tolerance, limit=LIMIT)
        spent = time.process_time() - begun
        gap = end.objective / best - 1
        if gap <= GAP:
            return spent, gap
    return None, gap


def lbfgs(given: Problem, best: float) -> tuple[float | None, float]:
    """The same of scipy's L-BFGS."""
    shape = (given.classes, given.features.shape[1] + 1)
    penalty = (2 if given.classes == 2 else 1) / len(given.labels)
    gap = float("inf")

    def evaluate(flat: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal gap
        theta = torch.from_numpy(flat).view(shape)
        value, gradient = given.evaluate(theta, penalty, torch.float64)
        gap = value / best - 1
        if gap <= GAP:
            raise Reached
        return value, gradient.numpy().ravel()

    begun = time.process_time()
    settings = {"maxiter": LIMIT, "maxfun": LIMIT, "ftol": 0.0, "gtol": 0.0}
    try:
        scipy.optimize.minimize(
            evaluate, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options=settings
        )
    except Reached:
        return time.process_time() - begun, gap
    return None, gap


def main() -> None:
    """Measure every shape, print the ratios, write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--d", type=int, nargs="*", default=[64, 512, 768, 2048])
    parser.add_argument("--classes", type=int, nargs="*", default=[2, 10, 100])
    parser.add_argument("--n", type=int, nargs="*", default=[2000, 10_000])
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for n, d, classes in itertools.product(asked.n, asked.d, asked.classes):
        given = problem(n, d, classes)
        best = minimise(given, 1.0, seed=0, tolerance=1e-9, limit=LIMIT).objective
        ours, theirs = newton(given, best), lbfgs(given, best)
        row = {"n": n, "d": d, "classes": classes, "newton": ours[0], "lbfgs": theirs[0]}
        row |= {"gaps": [ours[1], theirs[1]]}
        if ours[0] and theirs[0]:
            row["ratio"] = round(ours[0] / theirs[0], 2)
        rows.append(row)
        print(json.dumps(row), flush=True)
        if asked.json:
            asked.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
