"""The output signature finds a class whose name is erased, and finds nothing where nothing is."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from unspan.erasers import Projection
from unspan.erasers.linalg import Moments, spectrum
from unspan.errors import DataError
from unspan.metrics.accuracy import forget_accuracy
from unspan.metrics.outputs import Outputs
from unspan.metrics.signature import log_probabilities, reference_signature, signature

C, D = 8, 24


pytestmark = pytest.mark.usefixtures("one_thread")


def world(seed, n=1200, spread=0.7):
    """Non-negative class clusters, as after a ReLU, and the linear head of their means; class 0 is
    to be forgotten.
    """
    g = torch.Generator().manual_seed(100)
    means = torch.rand(C, D, generator=g) * 2
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, C, (n,), generator=g)
    features = (means[labels] + spread * torch.randn(n, D, generator=g)).relu()
    return features, labels, 4 * means, -2 * means.square().sum(1)


def outputs(features, labels, weight, bias):
    return Outputs(
        features=features, logits=features @ weight.mT + bias, labels=labels, forget=labels == 0
    )


def pair(edit=lambda z: z, head=lambda w, b: (w, b)):
    found = []
    for seed in (1, 2):
        features, labels, weight, bias = world(seed)
        found.append(outputs(edit(features), labels, *head(weight, bias)))
    return found


def esc(k=1):
    features, labels, *_ = world(1)
    moments = Moments(D)
    moments.update(features[labels == 0])
    return Projection(spectrum(moments).basis[:, :k].float())


def test_a_class_that_is_not_named_any_more_is_still_recognised():
    before, after = pair(), pair(esc())
    assert (
        forget_accuracy(before[1], "test").value
        > 0.8
        > 0.3
        > forget_accuracy(after[1], "test").value
    )
    reading = signature(*after)
    assert reading.interval()[0] > 0.9 and reading.detail["converged"]
    assert abs(reading.value - signature(*before).value) < 0.08


@pytest.mark.parametrize("edit", [-1e9, -1e4, -float("inf")])
def test_a_head_edit_that_silences_the_class_does_not_hide_it(edit):
    def silence(weight, bias):
        return weight, bias.index_fill(0, torch.tensor([0]), edit)

    fit, test = pair(head=silence)
    assert forget_accuracy(test, "test").value == 0
    assert signature(fit, test).interval()[0] > 0.8


def test_random_forget_rows_are_not_recognised():
    covered = 0
    for seed in range(60):
        g = torch.Generator().manual_seed(seed)
        parts = []
        for _ in range(2):
            logits = torch.randn(400, 5, generator=g)
            parts.append(
                Outputs(
                    features=logits,
                    logits=logits,
                    labels=torch.zeros(400, dtype=torch.long),
                    forget=torch.rand(400, generator=g) < 0.3,
                )
            )
        low, high = signature(*parts).interval()
        covered += low <= 0.5 <= high
    assert covered >= 54  # 95 % of 60 is 57; fewer than 54 has probability 2 %


def test_the_attack_is_that_of_scikit_learn():
    fit, test = pair(esc(3))
    x = log_probabilities(fit)
    scale = x.std(0, unbiased=False)
    z = lambda part: ((log_probabilities(part) - x.mean(0)) / scale).numpy()  # noqa: E731
    oracle = LogisticRegression(C=1 / (len(fit) * 1e-2), tol=1e-12, max_iter=5000).fit(
        z(fit), fit.forget.numpy()
    )
    truth = roc_auc_score(test.forget.numpy(), oracle.decision_function(z(test)))
    assert signature(fit, test, ridge=1e-2).value == pytest.approx(truth, abs=1e-4)


def test_constant_outputs_carry_no_signature():
    fit, test = pair(edit=torch.zeros_like)
    assert signature(fit, test).value == 0.5


def test_contributions_belong_to_the_rows_of_the_test_outputs():
    fit, test = pair(esc())
    reading = signature(fit, test)
    assert len(reading.forget) == int(test.forget.sum()) and len(reading.rest) == int(
        (~test.forget).sum()
    )
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))
    mixed = signature(fit, test.rows(order))
    assert torch.equal(
        mixed.forget,
        reading.forget[torch.argsort(torch.argsort(torch.nonzero(test.forget)[:, 0]))][
            _places(test.forget, order)
        ],
    )


def _places(forget, order):
    position = torch.cumsum(forget.long(), 0) - 1
    return position[order[forget[order]]]


def test_outputs_of_two_models_are_told_apart_only_when_they_differ():
    fit, test = pair()
    g = torch.Generator().manual_seed(0)

    def seen(part, edit=0.0):
        logits = (
            part.logits
            + torch.randn(part.logits.shape, generator=g)
            + edit * torch.nn.functional.one_hot(torch.tensor(3), C)
        )
        return Outputs(
            features=part.features, logits=logits, labels=part.labels, forget=part.forget
        )

    same = reference_signature((seen(fit), seen(fit)), (seen(test), seen(test)))
    assert same.interval()[0] <= 0.5 <= same.interval()[1]
    other = reference_signature((seen(fit, 6.0), seen(fit)), (seen(test, 6.0), seen(test)))
    assert other.interval()[0] > 0.6
    assert len(other.forget) == len(other.rest) == int(test.forget.sum())


def test_missing_parts_are_named():
    fit, test = pair()
    with pytest.raises(DataError, match="both kinds"):
        signature(fit.rows(fit.forget), test)
    with pytest.raises(DataError, match="one kind is missing"):
        signature(fit, test.rows(test.forget))
    bare = Outputs(features=fit.features, logits=None, labels=fit.labels, forget=fit.forget)
    with pytest.raises(DataError, match="embedding model"):
        signature(bare, test)
