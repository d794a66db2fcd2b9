"""ZRF, average gap and NoMUS against formulas written out and every published row."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from released import released
from scipy.spatial.distance import jensenshannon

from unspan.errors import UsageError
from unspan.metrics.unlearning import aus, avg_gap, js_bits, nomus, zrf

released_zrf = released("zrf").released_zrf
COLUMNS = ("D_f", "D_r", "D_t", "MIA")
RETRAIN = (95.58, 100.00, 95.23, 74.64)
TABLE_5 = {  # ESC, CVPR 2025, Table 5: four columns and the printed average gap
    "Finetune": (99.85, 100.00, 95.08, 87.73, 4.38),
    "RL": (94.52, 99.97, 93.66, 27.99, 12.33),
    "SCRUB": (99.99, 100.00, 95.41, 86.41, 4.09),
    "BadT": (100.00, 100.00, 95.27, 60.33, 4.69),
    "SalUn": (100.00, 99.99, 95.18, 63.61, 3.88),
    "NG": (96.57, 96.59, 89.67, 79.26, 3.65),
    "ESC": (100.00, 100.00, 95.07, 73.43, 1.45),
    "ESC-T": (99.86, 97.78, 92.73, 76.74, 2.77),
}
DLFD_LOGS = [  # accuracy, |MIA - 0.5|, printed NoMUS; logs of the DLFD release, age and emotion
    (0.6330, 0.1924, 0.6241),
    (0.6084, 0.0548, 0.7494),
    (0.6376, 0.1884, 0.6304),
    (0.6223, 0.1837, 0.6274),
    (0.6297, 0.1894, 0.6255),
    (0.4116, 0.0249, 0.6809),
    (0.4907, 0.0309, 0.7144),
    (0.4202, 0.0628, 0.6473),
    (0.6463, 0.1638, 0.6594),
    (0.6197, 0.0279, 0.7819),
    (0.7503, 0.1742, 0.7010),
    (0.7194, 0.0196, 0.8401),
    (0.7516, 0.1831, 0.6927),
    (0.7513, 0.1729, 0.7027),
    (0.7521, 0.1740, 0.7021),
    (0.7324, 0.1466, 0.7196),
    (0.6216, 0.0196, 0.7912),
    (0.5153, 0.0211, 0.7365),
    (0.7507, 0.1376, 0.7378),
    (0.6607, 0.0465, 0.7839),
    (0.5951, 0.2136, 0.5839),
]


@pytest.mark.parametrize("method", TABLE_5)
def test_average_gap_is_that_of_table_5(method):
    *values, printed = TABLE_5[method]
    score = avg_gap(dict(zip(COLUMNS, values)), dict(zip(COLUMNS, RETRAIN)))
    assert score.value == pytest.approx(printed, abs=0.006) and score.unit == "points"


def test_average_gap_wants_equal_columns():
    with pytest.raises(UsageError, match="equal columns"):
        avg_gap({"D_f": 1.0}, {"D_f": 1.0, "RTE": 3.0})


@pytest.mark.parametrize(("accuracy", "gap", "printed"), DLFD_LOGS)
@pytest.mark.parametrize("sign", [-1, 1])
def test_nomus_is_that_of_the_logs(accuracy, gap, printed, sign):
    assert nomus(accuracy, 0.5 + sign * gap).value == pytest.approx(printed, abs=0.00011)


def test_nomus_takes_shares_not_percent():
    with pytest.raises(UsageError, match="shares"):
        nomus(63.3, 0.5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 20), st.sampled_from([0.1, 1.0, 30.0]))
def test_js_is_that_of_scipy(seed, c, scale):
    g = torch.Generator().manual_seed(seed)
    a, b = (scale * torch.randn(5, c, generator=g, dtype=torch.float64) for _ in range(2))
    truth = [
        jensenshannon(p, q, base=2) ** 2 for p, q in zip(a.softmax(1).numpy(), b.softmax(1).numpy())
    ]
    np.testing.assert_allclose(js_bits(a, b).numpy(), truth, atol=1e-9)
    assert torch.equal(js_bits(a, b), js_bits(b, a))


def networks(seed, n=200, c=10, count=3, scale=6):
    g = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, c, generator=g), [
        0.3 * torch.randn(n, c, generator=g) for _ in range(count)
    ]


def test_zrf_is_a_mean_over_networks_with_their_spread():
    logits, random = networks(0)
    score = zrf(logits, random, "forget")
    each = [1 - float(js_bits(logits, other).mean()) for other in random]
    assert score.value == pytest.approx(np.mean(each)) and score.detail[
        "networks"
    ] == pytest.approx(each)
    assert (
        score.detail["spread"] == pytest.approx(np.std(each, ddof=1))
        and score.low < score.value < score.high
    )
    assert zrf(random[0], [random[0]] * 3, "forget").value == 1.0
    far = torch.eye(2) * 2e9
    assert zrf(far, [far.flip(0)] * 3, "forget").value == 0.0


def test_the_released_zrf_is_reproduced_and_is_nearly_1_whatever_the_model():
    logits, random = networks(1, scale=3.5)
    p, values = logits.float().softmax(1), []
    for other in random:
        q = other.float().softmax(1)
        m = (p + q) / 2
        values.append(
            1 - 0.5 * float((m * (m.log() - p.log())).mean() + (m * (m.log() - q.log())).mean())
        )
    found = released_zrf(logits, random, "forget")
    assert found.value == pytest.approx(np.mean(values), abs=1e-6)
    assert (
        found.value > 0.9 > 0.6 > zrf(logits, random, "forget").value
    )  # a toy of the specification: 0.915 against 0.481


def test_released_and_true_zrf_of_one_sample_by_hand():
    """p = (0.99, 0.01), q = (0.5, 0.5), so the mixture is (0.745, 0.255)."""
    p, q, m = (0.99, 0.01), (0.5, 0.5), (0.745, 0.255)
    a, b = (torch.tensor([row]).log() for row in (p, q))
    js = 0.5 * sum(x * math.log2(x / y) for x, y in zip(p, m)) + 0.5 * sum(
        x * math.log2(x / y) for x, y in zip(q, m)
    )
    wrong = (
        0.5 * sum(y * math.log(y / x) for x, y in zip(p, m)) / 2
        + 0.5 * sum(y * math.log(y / x) for x, y in zip(q, m)) / 2
    )
    assert zrf(a, [b] * 3, "f").value == pytest.approx(1 - js, abs=1e-6)
    assert released_zrf(a, [b] * 3, "f").value == pytest.approx(1 - wrong, abs=1e-6)


def test_underflow_is_said_not_returned_and_one_network_is_not_enough():
    logits, random = networks(2)
    assert released_zrf(logits * 1e4, random, "f").value is None
    assert 0 <= zrf(logits * 1e4, random, "f").value <= 1
    with pytest.raises(UsageError, match="at least 3"):
        zrf(logits, random[:1], "f")


def test_aus_recomputes_the_printed_table_and_refuses_percent():
    printed = {  # retain and forget accuracy of a method, and its AUS; the original keeps 94.47
        (94.47, 95.03): 0.51,
        (94.68, 0.0): 1.00,
        (86.71, 15.37): 0.80,
        (85.30, 12.33): 0.81,
        (88.73, 2.43): 0.92,
        (94.97, 0.0): 1.01,
    }
    for (retain, forget), value in printed.items():
        assert aus(0.9447, retain / 100, forget / 100).value == pytest.approx(value, abs=0.0051)
    with pytest.raises(UsageError, match="shares"):
        aus(94.47, 94.0, 0.0)
