"""What attackers read of a model in a benchmark: the published probe, and those who train to the
end. Values are in percent.
"""

from __future__ import annotations

import statistics
from typing import Any

import torch
from torch import Tensor

from unspan.auditing.suite import view_attacks
from unspan.metrics.linear import linear_probe
from unspan.metrics.mlp import mlp_probe
from unspan.metrics.neighbours import nearest
from unspan.metrics.outputs import Outputs
from unspan.metrics.retention import published_probe
from unspan.metrics.score import Reading, share_interval

Values = dict[str, dict[str, Any]]
KR_SEEDS = 3  # the published probe stops early, so where it starts shows
_KR = ("D_f", "D_r", "D_ft", "D_rt", "HM", "HM_t")


def attacks(
    fit: Outputs,
    test: Outputs,
    share: float,
    seed: int,
    views: tuple[Outputs, Outputs] | None,
) -> Values:
    """KR, what each converged attack reads of the forget test samples, and which reads most.

    Args:
        fit: outputs on the forget and the retained training samples.
        test: on test samples.
        share: of the retained data that are among the fit rows; attackers get as small a part of
            the forget samples.
        seed: of the attacks.
        views: outputs of some training and some test samples over ten views, for images.
    """
    fair = fit
    if share < 1:
        kept = (~fit.forget).nonzero()[:, 0]
        fair = fit.rows(torch.cat([*_some_of_each(fit, share), kept]))
    found = _published(fair, test, seed)
    read = {
        "probe": (linear_probe(fair, test, seed), test),
        "MLP": (mlp_probe(fair, test, seed, seeds=1), test),
    } | {
        one.attack.split(",")[0].replace(" k=", "-"): (one, test)
        for one in nearest(fair, test, seed=seed)
        if one.unit == "share" and one.attack.endswith("L2")
    }
    if views is not None:
        probe, answer = view_attacks(*views, seed, by_class=True)
        read |= {"probe, ten views": (probe, views[1]), "answer, ten views": (answer, views[1])}
    found |= {name: reading(one) for name, (one, _) in read.items()}
    strongest = max(read, key=lambda name: read[name][0].value)
    found["strongest"] = found[strongest] | {"attack": strongest}
    found["false positives"] = _false_positives(*read[strongest])
    return found


def _published(fit: Outputs, test: Outputs, seed: int) -> Values:
    """KR: means over the seeds of the published probe, and every seed."""
    runs = [published_probe(fit, test, KR_SEEDS * seed + more).detail for more in range(KR_SEEDS)]
    found: Values = {}
    for key in _KR:
        each = [run[key] for run in runs if run[key] is not None]
        found[f"KR {key}"] = {
            "value": statistics.fmean(each) if each else None,
            "low": None,
            "high": None,
            "n": 0,
            "seeds": each,
        }
    return found


def _some_of_each(fit: Outputs, share: float) -> list[Tensor]:
    """Positions of the first forget rows of every class, so many that their share is the one of the
    retained rows.
    """
    own = [
        ((fit.labels == label) & fit.forget).nonzero()[:, 0]
        for label in fit.labels[fit.forget].unique()
    ]
    return [rows[: max(1, round(share * len(rows)))] for rows in own]


def reading(one: Reading) -> dict[str, Any]:
    """What an attack reads, with its interval and the number of forget test samples."""
    low, high = one.interval()
    return {"value": 100 * one.value, "low": 100 * low, "high": 100 * high, "n": len(one.forget)}


def _false_positives(one: Reading, test: Outputs) -> dict[str, Any]:
    """Share of retained test samples that an attack takes for a forgotten class."""
    wrong, n = one.false_positives, int((~test.forget).sum())
    if wrong is None:
        return {"value": None, "low": None, "high": None, "n": 0}
    low, high = share_interval(wrong * n, n)
    return {"value": 100 * wrong, "low": 100 * low, "high": 100 * high, "n": n}
