"""Attacks beyond those of the audit, for `experiments/survive.py`: by attackers who know the map or
ask more than once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unspan.erasers import Eraser, placed
from unspan.metrics.mlp import fit_mlp
from unspan.metrics.outputs import Outputs
from unspan.metrics.probes import share_reading
from unspan.metrics.score import Reading, auc_reading

FORGET = 4


def area(name: str, x: Tensor, hit: Tensor, asked: Tensor, mark: Tensor, seed: int) -> Reading:
    """AUC of an MLP that learned to tell forget samples from the others."""
    logit = fit_mlp(x, hit.long(), 2, [seed]).scores(asked)[0]
    margin = (logit[:, 1] - logit[:, 0]).double()
    return auc_reading(name, margin[mark], margin[~mark])


def trees(fit: Outputs, test: Outputs, seed: int) -> tuple[Reading, Reading]:
    """Gradient-boosted trees on features and predicted class: what they call the class, and the
    AUC.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    some = _some(fit, seed)
    table = [
        torch.cat([one.features, one.logits.argmax(1, keepdim=True).float()], 1).numpy()
        for one in (some, test)
    ]
    learner = HistGradientBoostingClassifier(random_state=seed).fit(table[0], some.forget.numpy())
    chance = torch.from_numpy(learner.predict_proba(table[1])[:, 1].copy())
    return share_reading("trees", (chance > 0.5).double(), test), auc_reading(
        "trees", chance[test.forget], chance[~test.forget]
    )


def logarithms(fit: Outputs, test: Outputs, seed: int) -> tuple[Reading, Reading]:
    """Logistic regression on features, their logarithms and their zeros: sees a wrong tail that a
    linear probe does not.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    some = _some(fit, seed)
    table = [
        torch.cat(
            [one.features, (one.features.abs() + 0.01).log(), (one.features <= 0).float()], 1
        ).numpy()
        for one in (some, test)
    ]
    learner = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300)).fit(
        table[0], some.labels.numpy()
    )
    score = torch.from_numpy(learner.predict_proba(table[1]))
    return share_reading(
        "linear, logarithms", (score.argmax(1) == test.labels).double(), test
    ), auc_reading("linear, logarithms", score[test.forget, FORGET], score[~test.forget, FORGET])


def _some(one: Outputs, seed: int) -> Outputs:
    return one.rows(
        torch.randperm(len(one), generator=torch.Generator().manual_seed(seed))[:20_000]
    )


def by_place(fit: Outputs, test: Outputs, seed: int) -> Reading:
    """The attacker who knows the map: within every predicted class, whitened by that class, an MLP
    looks for draws that are not real.
    """
    parts = []
    for one in (fit, test):
        place, z = one.logits.argmax(1), one.features.double().clone()
        parts.append((place, z))
    for j in range(fit.logits.shape[1]):
        own = parts[0][1][parts[0][0] == j]
        if len(own) <= own.shape[1]:
            continue
        mean, (values, vectors) = own.mean(0), torch.linalg.eigh(own.mT.cov())
        white = vectors / values.clamp_min(1e-6 * values[-1]).sqrt()
        for place, z in parts:
            z[place == j] = (z[place == j] - mean) @ white
    hot = [nn.functional.one_hot(place, fit.logits.shape[1]) for place, _ in parts]
    x, asked = (
        torch.cat([z, z.square().sum(1, keepdim=True).sqrt(), 3 * code], 1).float()
        for (_, z), code in zip(parts, hot)
    )
    return area("MLP, whitened by predicted class", x, fit.forget, asked, test.forget, seed)


def mahalanobis(fit: Outputs, test: Outputs) -> Reading:
    """Nothing learned of forget samples: how far a sample is from its predicted class, by mean and
    covariance of that class.
    """
    far = torch.zeros(len(test), dtype=torch.float64)
    for j in range(fit.logits.shape[1]):
        own, there = fit.features[fit.logits.argmax(1) == j].double(), test.logits.argmax(1) == j
        if len(own) > own.shape[1]:
            spread = own.mT.cov()
            spread = spread + 1e-4 * spread.diagonal().mean() * torch.eye(
                len(spread), dtype=spread.dtype
            )
            rest = test.features[there].double() - own.mean(0)
            far[there] = (rest * torch.linalg.solve(spread, rest.mT).mT).sum(1)
    return auc_reading(
        "Mahalanobis distance from the predicted class", far[test.forget], far[~test.forget]
    )


def equal(clean: Tensor, noisy: Tensor, mark: Tensor) -> Reading:
    """Whether a value other than 0 is the same to the bit in answers to an image and the same with
    noise.
    """
    same = ((clean == noisy) & (clean != 0)).any(1).double()
    return auc_reading("equal values under noise", same[mark], same[~mark])


def as_row(one: Reading) -> dict[str, Any]:
    made = one.score("test")
    return {"value": made.value, "low": made.low, "high": made.high, "n": made.n}


def asked(
    eraser: Eraser | None, found: dict[str, Any], other: dict[str, Any], seed: int
) -> dict[str, Any]:
    """Attackers who ask for an image twice, mirrored as well, or who alter it: what an MLP calls
    the class, and forget against rest.
    """
    weight, bias = found["head"]
    double = None if eraser is None else placed(eraser, "last", torch.zeros(1, dtype=torch.float64))
    fit, test = found["train"].rows(other["some"]), found["test"]

    def answers(z: Tensor) -> tuple[Tensor, Tensor]:
        z = z if double is None else double(z.double()).float()
        return z, (z.double() @ weight.mT + bias).log_softmax(1).float()

    def pair(one: Tensor, two: Tensor) -> Tensor:
        return torch.cat([one, two, (one - two).abs()], 1)

    plain, mirrored = (
        [answers(z) for z in part]
        for part in ((fit.features, test.features), other["mirrored"].values())
    )
    half = [answers(z) for z in other["half contrast"].values()]
    inputs = {
        "one answer": [z for z, _ in plain],
        "two views": [pair(one[0], two[0]) for one, two in zip(plain, mirrored)],
        "two views, log-probabilities": [pair(one[1], two[1]) for one, two in zip(plain, mirrored)],
        "half contrast, one answer": [z for z, _ in half],
    }
    row = {}
    for name, (x, y) in inputs.items():
        scores = fit_mlp(x, fit.labels, 10, [seed]).scores(y)[0].log_softmax(1)
        hit, mark = (scores.argmax(1) == test.labels).double(), test.forget
        row[name] = {
            "forget": as_row(share_reading(name, hit, test)),
            "remaining": float(hit[~mark].mean()),
            "AUC": as_row(
                auc_reading(name, scores[mark, FORGET].double(), scores[~mark, FORGET].double())
            ),
        }
    return row
