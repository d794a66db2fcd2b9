import hashlib
import random
from importlib.metadata import PackageNotFoundError

import unspan
from unspan.artifact import receipt
from unspan.erasure.evaluation import findings


def digests(count):
    return [hashlib.sha256(str(i).encode()).digest() for i in range(count)]


def test_the_commitment_does_not_depend_on_order_and_needs_the_key():
    one = digests(50)
    other = random.Random(0).sample(one, 50)
    assert receipt.commitment(b"".join(one), b"k" * 32) == receipt.commitment(
        b"".join(other), b"k" * 32
    )
    assert receipt.commitment(b"".join(one), b"k" * 32) != receipt.commitment(
        b"".join(one), b"l" * 32
    )
    assert receipt.commitment(b"".join(one), b"k" * 32) != receipt.commitment(
        b"".join(one[:-1]), b"k" * 32
    )


def test_samples_given_twice_count_once():
    assert receipt.distinct(b"".join(digests(7) * 3)) == 7


def row(split, before, after, low, high, n=900, classes=()):
    return {
        "split": split,
        "n": n,
        "before": before,
        "after": after,
        "low": low,
        "high": high,
        "classes": list(classes),
        "part": split.rpartition(" ")[2],
    }


def test_a_loss_on_retained_data_is_said_in_words():
    assert (
        "fell from 85.0% to 70.0%" in findings([row("test retain", 0.85, 0.70, 0.69, 0.71)], 10)[0]
    )
    assert findings([row("test retain", 0.85, 0.845, 0.84, 0.852)], 10) == []


def test_the_class_that_lost_most_is_named():
    found = findings(
        [
            row(
                "test retain",
                0.85,
                0.845,
                0.84,
                0.852,
                classes=[[0, 100, 0.8, 0.8], [1, 100, 0.78, 0.71], [2, 5, 1.0, 0.0]],
            )
        ],
        10,
        ["a", "bird", "c"],
    )
    assert len(found) == 1 and "bird lost most, from 78.0% to 71.0%" in found[0]


def test_a_class_that_is_still_named_is_said_in_words():
    assert (
        "still above chance" in findings([row("test forget", 0.9, 0.23, 0.12, 0.37, n=48)], 10)[0]
    )
    assert "rose" in findings([row("test forget", 0.0, 0.875, 0.8, 0.9)], 10)[0]
    assert findings([row("test forget", 0.9, 0.089, 0.072, 0.108)], 10) == []


def test_a_checkout_that_is_not_installed_names_its_version(monkeypatch):
    def nothing(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr(receipt, "version", nothing)
    assert receipt.versions()["unspan"] == unspan.__version__
