"""Scores of unlearning papers: ZRF, average gap to retraining, AUS and NoMUS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from unspan.errors import UsageError
from unspan.metrics.score import Score, mean_interval


def zrf(logits: Tensor, random: Sequence[Tensor], split: str) -> Score:
    """Zero retrain forgetting, `1 - mean JS(model || random network)` on forget samples, JS in
    bits, so in [0, 1].

    Higher means outputs look more like those of untrained networks; any edit of the head raises it,
    so it tells about outputs only and is read beside the reference model's value. The value is the
    mean over the random networks; `detail` has each network's, and their standard deviation as
    `spread`. The interval is over samples.
    Source: Chundawat et al., AAAI 2023.

    Args:
        logits: `[n, C]` scores of the audited model.
        random: at least 3 tensors `[n, C]`: scores of randomly initialised networks of the same
            architecture.
        split: which samples.

    Raises:
        UsageError: fewer than 3 random networks, or shapes that do not match.

    >>> half = torch.tensor([[0.0, -1e9]])
    >>> zrf(half, [half, half, half], "forget").value
    1.0
    """
    if len(random) < 3 or any(other.shape != logits.shape for other in random) or len(logits) == 0:
        raise UsageError(
            f"ZRF needs the scores of at least 3 random networks, each {list(logits.shape)} with n"
            f" >= 1; got {[list(other.shape) for other in random]}."
        )
    per_sample = torch.stack([1 - js_bits(logits, other) for other in random])
    values = per_sample.mean(1)
    low, high = mean_interval(per_sample.mean(0))
    return Score(
        name="ZRF",
        value=float(values.mean()),
        low=low,
        high=high,
        better="reference",
        split=split,
        n=len(logits),
        detail={"networks": values.tolist(), "spread": float(values.std())},
    )


def js_bits(a: Tensor, b: Tensor) -> Tensor:
    """Jensen-Shannon divergence of the softmax of two `[n, C]` score tensors, `[n]` float64, in
    bits, within [0, 1].
    """
    p, q = a.double().softmax(1), b.double().softmax(1)
    entropy = torch.special.entr
    nats = (entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2).sum(1)
    return (nats / torch.log(torch.tensor(2.0, dtype=torch.float64))).clamp(0, 1)


def avg_gap(method: Mapping[str, float], retrain: Mapping[str, float]) -> Score:
    """Mean absolute difference to retraining over the columns of Table 5 (D_f, D_r, D_t, MIA), in
    points; lower is better.

    Run time is not a column. Source: Fan et al. (SalUn), ICLR 2024; ESC, Table 5.

    Args:
        method: column -> percent.
        retrain: the same columns of the retrained model.

    Raises:
        UsageError: the columns differ, or there is none.

    >>> method = {"D_f": 100, "D_r": 100, "D_t": 95.07, "MIA": 73.43}
    >>> retrain = {"D_f": 95.58, "D_r": 100, "D_t": 95.23, "MIA": 74.64}
    >>> round(avg_gap(method, retrain).value, 4)
    1.4475
    """
    if not method or set(method) != set(retrain):
        raise UsageError(
            f"The average gap compares equal columns; got {sorted(method)} and {sorted(retrain)}."
        )
    gaps = {name: abs(method[name] - retrain[name]) for name in method}
    return Score(
        name="average gap to retraining",
        value=sum(gaps.values()) / len(gaps),
        unit="points",
        better="lower",
        n=len(gaps),
        detail={"gaps": gaps},
    )


def aus(retain_before: float, retain: float, forget: float) -> Score:
    """Adaptive unlearning score, `(1 - (Acc_r,original - Acc_r)) / (1 + Acc_f)`; higher is better.

    1 for a model that names no forgotten sample and every retained one that the original named;
    above 1 where it names more of these. It sees answers only.
    Source: as used for POUR, CVPR 2026, arXiv 2511.19339.

    Args:
        retain_before: accuracy of the original on retained samples, as a share.
        retain: the same of the audited model.
        forget: accuracy of the audited model on forgotten samples.

    Raises:
        UsageError: a share outside [0, 1].

    >>> round(aus(0.9447, 0.8671, 0.1537).value, 2)
    0.8
    """
    if not all(0 <= one <= 1 for one in (retain_before, retain, forget)):
        raise UsageError(f"AUS takes shares in [0, 1]; got {retain_before}, {retain} and {forget}.")
    return Score(
        name="AUS",
        value=(1 - (retain_before - retain)) / (1 + forget),
        unit="1",
        better="higher",
        detail={"retain_before": retain_before, "retain": retain, "forget": forget},
    )


def nomus(test_accuracy: float, attack_accuracy: float) -> Score:
    """Normalised machine unlearning score, `(accuracy + 1 - FS) / 2` with `FS = 2 |attack - 0.5|`,
    in [0, 1]; higher is better.

    A model at chance on both scores 0.5 plus half its accuracy, so read the two parts in `detail`
    as well.
    Source: Choi and Na, 2023 (MUFAC); used for DLFD, AAAI 2025.

    Args:
        test_accuracy: share of test samples classified right.
        attack_accuracy: accuracy of a *balanced* membership attack, as a share; unequal groups put
            a floor under FS.

    Raises:
        UsageError: a share outside [0, 1].

    >>> round(nomus(0.5951, 0.5 + 0.2136).value, 3)
    0.584
    """
    if not (0 <= test_accuracy <= 1 and 0 <= attack_accuracy <= 1):
        raise UsageError(
            f"NoMUS takes shares in [0, 1]; got accuracy {test_accuracy} and attack"
            f" {attack_accuracy}."
        )
    forgetting = 2 * abs(attack_accuracy - 0.5)
    return Score(
        name="NoMUS",
        value=(test_accuracy + 1 - forgetting) / 2,
        unit="1",
        better="higher",
        detail={"accuracy": test_accuracy, "forgetting_score": forgetting},
    )
