"""The converged probe beside scikit-learn's LogisticRegression, until both are near the optimum."""

from __future__ import annotations

import time

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from unspan.metrics.linear import fit_linear

CLASSES, C = 10, 1.0


def synthetic(n: int, d: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Overlapping Gaussian classes in correlated features with an offset."""
    g = torch.Generator().manual_seed(0)
    y = torch.randint(CLASSES, (n,), generator=g)
    mix = torch.linalg.qr(torch.randn(d, d, generator=g))[0] * torch.logspace(0, -1.5, d)[:, None]
    centres = 0.25 * torch.randn(CLASSES, d, generator=g) * (torch.arange(d) < 60)
    return (torch.randn(n, d, generator=g) + centres[y]) @ mix + 1, y


def loss(coef: np.ndarray, bias: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    score = (
        torch.from_numpy(x).double() @ torch.from_numpy(coef).double().T
        + torch.from_numpy(bias).double()
    )
    own = score.gather(1, torch.from_numpy(y)[:, None])[:, 0]
    return float((score.logsumexp(1) - own).mean()) + float((coef.astype(float) ** 2).sum()) / (
        2 * C * len(y)
    )


def race(name: str, x: torch.Tensor, y: torch.Tensor, budget: float) -> dict:
    """Seconds until the objective is within 1e-6 of the optimum, standardisation included on both
    sides.
    """
    best = fit_linear(x, y, CLASSES, c=(C,), tolerance=1e-8)
    out: dict = {
        "n": len(x),
        "d": x.shape[1],
        "C": C,
        "optimum": best.objective,
        "optimum_gradient": best.gradient,
        "ours": [],
        "scikit-learn": [],
    }
    for tolerance in (1e-4, 1e-5, 1e-6):
        begun = time.perf_counter()
        one = fit_linear(x, y, CLASSES, c=(C,), tolerance=tolerance)
        row = {
            "tolerance": tolerance,
            "seconds": time.perf_counter() - begun,
            "gradient": one.gradient,
            "iterations": one.iterations,
            "excess": one.objective / best.objective - 1,
        }
        out["ours"].append(row)
        print(name, "ours", row, flush=True)
    for tol in (1e-4, 3e-5, 1e-5, 3e-6, 1e-6, 1e-7):
        begun, cpu = time.perf_counter(), x.numpy()
        mean, scale = cpu.mean(0, dtype=np.float64), cpu.std(0, dtype=np.float64)
        z = ((cpu - mean) / np.where(scale > 0, scale, 1)).astype(
            np.float32 if tol > 1e-6 else np.float64
        )
        found = LogisticRegression(C=C, tol=tol, max_iter=20000).fit(z, y.numpy())
        seconds = time.perf_counter() - begun
        row = {
            "tol": tol,
            "dtype": str(z.dtype),
            "seconds": seconds,
            "iterations": int(found.n_iter_[0]),
            "excess": loss(found.coef_, found.intercept_, z, y.numpy()) / best.objective - 1,
        }
        out["scikit-learn"].append(row)
        print(name, "scikit-learn", row, flush=True)
        if row["excess"] <= 1e-6 or seconds > budget:
            break
    reached = {
        side: [row["seconds"] for row in out[side] if row["excess"] <= 1e-6]
        for side in ("ours", "scikit-learn")
    }
    ours, theirs = (min(reached[side], default=None) for side in ("ours", "scikit-learn"))
    out |= {
        "seconds_to_1e-6": {"ours": ours, "scikit-learn": theirs},
        "speedup": theirs / ours if ours and theirs else None,
    }
    if theirs is None:
        out["speedup_at_least"] = (
            max(row["seconds"] for row in out["scikit-learn"]) / ours if ours else None
        )
    return out
