"""Test samples that are copies of forget samples, in datasets of their own."""

import torch
from torch.utils.data import TensorDataset

from unspan.data.request import Request
from unspan.erasure.checks import split_notices


def request(copied):
    x, y = torch.randn(60, 4), torch.arange(60) % 3
    test = torch.cat([torch.randn(12, 4), x[copied]])
    labels = torch.cat([torch.arange(12) % 3, y[copied]])
    return Request.by_class(TensorDataset(x, y), 1).with_test(TensorDataset(test, labels))


def test_copies_of_forget_samples_in_the_test_data_are_counted():
    found = split_notices(request([1, 4, 7]))
    assert found == [
        "3 test samples are exact copies of forget samples: figures on them are not of held-out"
        " samples"
    ]


def test_other_test_data_and_no_test_data_say_nothing():
    assert split_notices(request([])) == []
    x, y = torch.randn(9, 4), torch.arange(9) % 3
    assert split_notices(Request.by_class(TensorDataset(x, y), 1)) == []
