import hashlib
import random

from unspan import receipt
from unspan.cli.erase import _losses


def digests(count):
    return [hashlib.sha256(str(i).encode()).digest() for i in range(count)]


def test_the_commitment_does_not_depend_on_order_and_needs_the_key():
    one = digests(50)
    other = random.Random(0).sample(one, 50)
    assert receipt.commitment(b"".join(one), b"k" * 32) == receipt.commitment(b"".join(other), b"k" * 32)
    assert receipt.commitment(b"".join(one), b"k" * 32) != receipt.commitment(b"".join(one), b"l" * 32)
    assert receipt.commitment(b"".join(one), b"k" * 32) != receipt.commitment(b"".join(one[:-1]), b"k" * 32)


def test_samples_given_twice_count_once():
    assert receipt.distinct(b"".join(digests(7) * 3)) == 7


def test_a_loss_on_retained_data_is_said_in_words():
    row = {"split": "test retain", "n": 9000, "before": 0.85, "after": 0.70, "low": 0.69, "high": 0.71}
    assert "fell from 85.0% to 70.0%" in _losses([row])[0]
    assert _losses([row | {"after": 0.845, "high": 0.852}, row | {"split": "test forget"}]) == []
