"""The membership attack of Table 5: which share of the forget samples looks like training data."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unspan.errors import DataError
from unspan.metrics.outputs import Outputs
from unspan.metrics.score import Score, share_interval

_GRID = 4096  # points at which a support-vector machine is asked
_ROUNDING = 1e-6  # of its scores


def entropy(logits: Tensor) -> Tensor:
    """Entropy of the prediction in nats, `[n, C]` scores -> `[n]` float64; 0 is certain, log C
    knows nothing.
    """
    return torch.special.entr(logits.double().softmax(1)).sum(1)


def member_rate(
    retain: Outputs,
    test: Outputs,
    forget: Outputs,
    split: str,
    *,
    classifier: Literal["svm", "logistic"] = "svm",
    limit: int = 2000,
    seed: int = 0,
) -> Score:
    """Share of forget samples that an attack fitted on retained training data (members) against
    test data calls members.

    The attack sees the entropy of the prediction: an RBF support-vector machine (C = 3, gamma = 1)
    or a balanced logistic regression, both as in the release of Chundawat et al. (bad teaching,
    AAAI 2023). Changed: both sides are cut to the same size, at most `limit`, by a local generator.
    Not the attack of Table 1. Nearer to the
    reference model is better: the value of a model that never saw the forget samples is the
    attack's own rate on unseen data, given in `detail["test"]`, not 0.5. The interval takes the
    attack as given.

    Args:
        retain: outputs on retained training samples.
        test: outputs on samples never trained on.
        forget: outputs on the forget samples (every row is used).
        split: which samples.
        classifier: the attack.
        limit: most samples a side; a support-vector machine costs their square.
        seed: of the cut.

    Raises:
        DataError: no class scores, a side is empty, or a score is NaN.
    """
    values = {
        name: _entropies(name, outputs)
        for name, outputs in (("retain", retain), ("test", test), ("forget", forget))
    }
    size = min(len(retain), len(test), limit)
    attack = _fitted(classifier, values["retain"], values["test"], size, seed)
    said = _named if classifier == "logistic" else _named_by_support
    rates = {name: float(said(attack, part.numpy()).mean()) for name, part in values.items()}
    n = len(forget)
    low, high = share_interval(rates["forget"] * n, n)
    detail = {
        "classifier": classifier,
        "fit": size,
        "retain": rates["retain"],
        "test": rates["test"],
    }
    return Score(
        name="member rate",
        value=rates["forget"],
        low=low,
        high=high,
        better="reference",
        split=split,
        n=n,
        detail=detail,
    )


def _entropies(name: str, outputs: Outputs) -> Tensor:
    if outputs.logits is None or len(outputs) == 0:
        raise DataError(
            f"The member rate needs class scores of retained, test and forget samples; {name}"
            " has none."
        )
    found = entropy(outputs.logits)
    if bool(found.isnan().any()):
        raise DataError(f"The class scores of the {name} samples contain NaN.")
    return found


def _fitted(classifier: str, retain: Tensor, test: Tensor, size: int, seed: int) -> Any:
    """A scikit-learn classifier fitted on as many entropies of retained as of test samples."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC

    generator = torch.Generator().manual_seed(seed)
    cut = [part[torch.randperm(len(part), generator=generator)[:size]] for part in (retain, test)]
    attack = (
        SVC(C=3, gamma=1.0) if classifier == "svm" else LogisticRegression(class_weight="balanced")
    )
    is_member = (torch.arange(2 * size) < size).int().numpy()
    return attack.fit(torch.cat(cut).numpy()[:, None], is_member)


def _named(attack: Any, values: NDArray[np.float64]) -> NDArray[np.int64]:
    """1 where a classifier calls a sample a member, `[n]` entropies -> `[n]`."""
    found: NDArray[np.int64] = attack.predict(values[:, None])
    return found


def _named_by_support(attack: Any, values: NDArray[np.float64]) -> NDArray[np.int64]:
    """As `_named`, for many entropies and a support-vector machine with an RBF kernel.

    Its score is smooth: a straight line between two points of a grid is off by at most an eighth
    of the squared step times the largest curvature. Where the line is further from 0 than that,
    its sign is the answer. The machine itself is asked about the grid and the others.
    """
    low, high = float(values.min()), float(values.max())
    if len(values) <= _GRID or low == high:
        return _named(attack, values)
    grid = np.linspace(low, high, _GRID)
    line = np.interp(values, grid, attack.decision_function(grid[:, None]))
    curvature = 2 * float(attack.gamma) * float(np.abs(attack.dual_coef_).sum())
    unsure = np.abs(line) <= (grid[1] - grid[0]) ** 2 / 8 * curvature + _ROUNDING
    found = (line > 0).astype(np.int64)
    if unsure.any():
        found[unsure] = _named(attack, values[unsure])
    return found
