"""Output signature: the class is not named any more, but do its samples still answer alike?"""

from __future__ import annotations

import torch
from torch import Tensor

from unspan.errors import DataError
from unspan.metrics.binary_logistic import fit_logistic
from unspan.metrics.outputs import Outputs
from unspan.metrics.score import Reading, auc_reading

_FLOOR = -100.0  # nats; scores edited to -1e9 would otherwise drown every other column
NAME = "output signature"


def signature(fit: Outputs, test: Outputs, *, ridge: float = 1e-4) -> Reading:
    """AUC with which a logistic regression on log-probabilities tells forget samples from the
    others.

    An attacker who sees only class probabilities, as behind an API. An erased class that always
    answers with the same neighbours is found although its own name never appears. Lower is more
    forgotten, 0.5 knows nothing. Inputs are `log_softmax` of the scores in nats, cut at -100,
    standardised on `fit`.

    Args:
        fit: outputs of the audited model the attacker learns from (training part), with forget and
            other rows.
        test: outputs of the same model on other samples.
        ridge: penalty of the standardised weights.

    Raises:
        DataError: no class scores, or a part lacks forget or other rows.
    """
    attack = fit_logistic(log_probabilities(fit), fit.forget, ridge=ridge)
    if not 0 < int(test.forget.sum()) < len(test):
        raise DataError(
            "The signature attack is tested on forget and on other samples; one kind is missing."
        )
    scores = attack(log_probabilities(test))
    return auc_reading(
        NAME,
        scores[test.forget],
        scores[~test.forget],
        **attack.detail(),
        ridge=ridge,
        fit=len(fit),
    )


def reference_signature(
    fit: tuple[Outputs, Outputs], test: tuple[Outputs, Outputs], *, ridge: float = 1e-4
) -> Reading:
    """AUC with which outputs of the audited model on forget samples are told from those of a
    reference model.

    Each pair is (audited, reference) on the same rows; only forget rows are used. 0.5: the answers
    cannot be told from a model that never saw the samples. Above: too little *or too much* was
    erased, which this attack does not tell apart. Two models of one recipe and different seeds are
    told apart as well, so read it beside the value between two references. Contributions of the two
    models on one sample are correlated; the interval ignores that, which widens it.

    Args:
        fit: what the attacker learns from.
        test: other samples.
        ridge: as in `signature`.

    Raises:
        DataError: as in `signature`, or different numbers of classes.
    """
    parts = []
    for audited, reference in (fit, test):
        pair = [log_probabilities(side.rows(side.forget)) for side in (audited, reference)]
        if pair[0].shape[1] != pair[1].shape[1]:
            raise DataError(
                f"The reference has {pair[1].shape[1]} classes, the audited model"
                f" {pair[0].shape[1]}."
            )
        parts.append(pair)
    (first, second), (third, fourth) = parts
    if min(len(third), len(fourth)) == 0:
        raise DataError("The signature attack has no forget sample to be tested on.")
    attack = fit_logistic(
        torch.cat([first, second]), torch.arange(len(first) + len(second)) < len(first), ridge=ridge
    )
    return auc_reading(
        "signature against the reference",
        attack(third),
        attack(fourth),
        **attack.detail(),
        ridge=ridge,
        fit=len(first),
    )


def log_probabilities(outputs: Outputs) -> Tensor:
    """`[n, C]` float64 natural log-probabilities, at least -100.

    Raises:
        DataError: an embedding model, or a NaN score.
    """
    if outputs.logits is None:
        raise DataError(
            "The signature attack needs class scores; these outputs are of an embedding model."
        )
    if bool(outputs.logits.isnan().any()):
        raise DataError("The class scores contain NaN.")
    return outputs.logits.double().log_softmax(1).clamp_min(_FLOOR)
