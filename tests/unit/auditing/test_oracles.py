"""Every attack of the suite reads what another program reads of the same features."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import recall_score, roc_auc_score
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from unspan.auditing.suite import class_attacks, group_attacks
from unspan.metrics.fewshot import DRAWS, REFITS, _draws, _pools
from unspan.metrics.identity import AttackKind
from unspan.metrics.neighbours import queries
from unspan.metrics.outputs import Outputs

pytestmark = pytest.mark.filterwarnings("ignore")
FORGOTTEN, CLASSES, SEED = 1, 4, 0


def planted(seed, n):
    """Overlapping classes in correlated features, and scores that do not name one class."""
    known = torch.Generator().manual_seed(9)
    centres = torch.randn(CLASSES, 8, generator=known)
    mix = torch.randn(8, 8, generator=known)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (n,), generator=generator)
    plain = centres[labels] + torch.randn(n, 8, generator=generator)
    logits = plain @ torch.randn(8, CLASSES, generator=known)
    logits[:, FORGOTTEN] -= 2
    return Outputs(
        features=plain @ mix + 3, logits=logits, labels=labels, forget=labels == FORGOTTEN
    )


FIT, TEST = planted(1, 700), planted(2, 900)


def of(one):
    """Features, labels and marks as scikit-learn takes them."""
    return one.features.double().numpy(), one.labels.numpy(), one.forget.numpy()


(KNOWN, LABELS, MARKS), (ASKED, TRUTH, FORGET) = of(FIT), of(TEST)


def logistic(c):
    return LogisticRegression(C=c, tol=1e-8, max_iter=10_000)


def recall(read, truth=TRUTH):
    return recall_score(truth, read, labels=[FORGOTTEN], average="macro")


def linear(reading, *before):
    model = make_pipeline(StandardScaler(), *before, logistic(reading.detail["C"]))
    return recall(model.fit(KNOWN, LABELS).predict(ASKED))


def whitened(reading):
    return linear(reading, PCA(whiten=True), StandardScaler())


def against_rest(reading):
    model = make_pipeline(StandardScaler(), logistic(reading.detail["C"])).fit(KNOWN, MARKS)
    return roc_auc_score(FORGET, model.decision_function(ASKED))


def affine(_):
    return roc_auc_score(FORGET, LinearRegression().fit(KNOWN, MARKS).predict(ASKED))


def nearest_first(distances):
    """Votes of which the earlier decide between classes that have as many."""
    return 1 + 0.5 ** np.broadcast_to(np.arange(1, distances.shape[1] + 1), distances.shape)


def neighbours(reading):
    metric = {"L2": "euclidean", "cosine": "cosine"}[reading.detail["metric"]]
    model = KNeighborsClassifier(
        reading.detail["k"], metric=metric, algorithm="brute", weights=nearest_first
    ).fit(KNOWN, LABELS)
    rows = queries(TEST, SEED).numpy()
    if reading.unit == "share":
        return recall(model.predict(ASKED[rows]), TRUTH[rows])
    found = model.kneighbors(ASKED[rows], return_distance=False)
    return roc_auc_score(FORGET[rows], MARKS[found].mean(1))


def network(_):
    read = []
    for seed in range(3):
        model = MLPClassifier(random_state=seed, max_iter=500)
        read.append(
            recall(make_pipeline(StandardScaler(), model).fit(KNOWN, LABELS).predict(ASKED))
        )
    return sum(read) / len(read)


def log_probabilities(one):
    return one.logits.double().log_softmax(1).numpy()


def signature(reading):
    model = logistic(1 / (len(FIT) * reading.detail["ridge"]))
    model = make_pipeline(StandardScaler(), model).fit(log_probabilities(FIT), MARKS)
    return roc_auc_score(FORGET, model.decision_function(log_probabilities(TEST)))


def own_answer(_):
    return recall(TEST.logits.numpy().argmax(1))


def few_shot(reading, model, scaled, draws):
    """Mean over the images that the attack drew."""
    read = []
    rest = (~MARKS).nonzero()[0]
    for rows in _draws(_pools(FIT), reading.detail["m"], draws, SEED):
        index = np.concatenate([rest, rows.flatten().numpy()])
        scaler = scaled(index, rest)
        fitted = model().fit(scaler.transform(KNOWN[index]), LABELS[index])
        read.append(recall(fitted.predict(scaler.transform(ASKED))))
    return sum(read) / len(read)


def balanced(index):
    counts = np.bincount(LABELS[index], minlength=CLASSES)
    return len(index) / (CLASSES * counts[LABELS[index]])


def prototype(reading):
    return few_shot(
        reading, NearestCentroid, lambda *_: StandardScaler(with_std=False).fit(KNOWN), DRAWS
    )


def standardised(reading):
    return few_shot(
        reading, NearestCentroid, lambda _, rest: StandardScaler().fit(KNOWN[rest]), DRAWS
    )


def refit(reading):
    return few_shot(
        reading,
        lambda: LogisticRegression(class_weight="balanced", tol=1e-8, max_iter=10_000),
        lambda index, _: StandardScaler().fit(KNOWN[index], sample_weight=balanced(index)),
        REFITS,
    )


FEW = 1.5 / FORGET.sum()  # one sample and a half: an optimiser that stopped elsewhere
ORACLES = {
    AttackKind.LINEAR: (linear, FEW),
    AttackKind.LINEAR_WHITENED: (whitened, FEW),
    AttackKind.LINEAR_AGAINST_REST: (against_rest, 1e-4),
    AttackKind.AFFINE_AGAINST_REST: (affine, 1e-9),
    AttackKind.NEIGHBOURS: (neighbours, 1e-9),
    AttackKind.NEIGHBOURS_AGAINST_REST: (neighbours, 1e-9),
    AttackKind.MLP: (network, 0.06),  # another network: it ends elsewhere
    AttackKind.SIGNATURE: (signature, 1e-4),
    AttackKind.OWN_ANSWER: (own_answer, 1e-9),
    AttackKind.FEW_SHOT_PROTOTYPE: (prototype, 1e-3),
    AttackKind.FEW_SHOT_STANDARDISED: (standardised, 1e-3),
    AttackKind.FEW_SHOT_REFIT: (refit, FEW),
}


@pytest.fixture(scope="module")
def readings():
    return class_attacks(FIT, TEST, SEED, lambda stage: None)


@pytest.mark.parametrize("kind", list(ORACLES), ids=lambda kind: kind.name)
def test_the_attack_reads_what_another_program_reads(readings, kind):
    other, tolerance = ORACLES[kind]
    found = [one for one in readings if one.identity.kind is kind]
    assert found
    for one in found:
        assert one.value == pytest.approx(other(one), abs=tolerance), one.attack


def test_no_attack_is_without_another_program(readings):
    group = group_attacks(FIT, TEST, SEED, lambda stage: None)
    assert {one.identity.kind for one in [*readings, *group]} <= set(ORACLES)


def test_readings_are_neither_nothing_nor_everything(readings):
    """So that agreement says something."""
    own = [one for one in readings if one.identity.kind is not AttackKind.OWN_ANSWER]
    assert sum(0.05 < one.value < 0.98 for one in own) >= 0.8 * len(own)
