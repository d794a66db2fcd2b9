"""Defects of released code, which live in experiments/released and load as any other method."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from released import spec

import unspan
from unspan.erasers import LinearMap
from unspan.errors import UsageError
from unspan.methods import BadTeaching, by_name
from unspan.training.samples import generator


@pytest.mark.parametrize(
    ("file", "name", "called"),
    [
        ("esc", "ReleasedESC", "esc-released"),
        ("esc", "ReleasedESCT", "esc-t-released"),
        ("bad_teaching", "ReleasedBadTeaching", "bad-teaching-released"),
        ("random_labels", "ReleasedRandomLabels", "random-labels-released"),
        ("dlfd", "ReleasedDLFD", "dlfd-released"),
        ("ssd", "ReleasedSSD", "ssd-released"),
    ],
)
def test_a_reproduction_is_a_method_of_its_own(file, name, called):
    method = by_name(spec(file, name))
    assert method.name == called
    assert method() == replace(method())


def test_released_random_labels_are_true_in_one_of_c_cases():
    y = torch.randint(6, (30_000,), generator=torch.Generator().manual_seed(1))
    method = by_name(spec("random_labels", "ReleasedRandomLabels"))()
    drawn = method.draw(SimpleNamespace(classes=6, forgotten=()), y, generator(0, "x"))
    assert 0.14 < float((drawn == y).double().mean()) < 0.19


def test_released_bad_teaching_divides_by_the_number_of_classes():
    draw = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 5, 7, generator=draw)
    method = by_name(spec("bad_teaching", "ReleasedBadTeaching"))()
    whole = BadTeaching().divergence(student, teacher)
    assert float(method.divergence(student, teacher)) == pytest.approx(float(whole) / 7)


def test_released_esc_reads_everything():
    with pytest.raises(UsageError, match="reads all samples"):
        by_name(spec("esc", "ReleasedESC"))(adaptive=True)


def test_a_reproduction_erases_and_its_receipt_names_it(digits_net, digits_request):
    method = by_name(spec("esc", "ReleasedESC"))(rank=1)
    done = unspan.erase(digits_net, digits_request, method, measure=False)
    assert done.receipt["method"]["name"] == "esc-released"
    assert isinstance(done.eraser, LinearMap)
