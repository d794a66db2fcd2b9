"""Data are cut by class into what is kept and what is gone, in their own order."""

import pytest
import torch
from torch.utils.data import TensorDataset

from unspan.data.class_parts import apart, has_labels, without_class

LABELS = [2, 0, 1, 2, 0]
DATA = TensorDataset(torch.arange(5.0)[:, None], torch.tensor(LABELS))


def rows(data) -> list[int] | None:
    return None if data is None else [int(data[at][0]) for at in range(len(data))]


@pytest.mark.parametrize(
    ("classes", "kept", "gone"),
    [
        ({0}, [0, 2, 3], [1, 4]),
        ({1, 2}, [1, 4], [0, 2, 3]),
        ({0, 1, 2}, None, [0, 1, 2, 3, 4]),
        ({7}, [0, 1, 2, 3, 4], None),
    ],
)
def test_each_sample_is_in_one_part(classes, kept, gone):
    found = apart(DATA, classes)
    assert [rows(part) for part in found] == [kept, gone]


def test_no_classes_and_data_without_labels_are_left_whole():
    bare = torch.zeros(3, 2)
    assert apart(DATA, set()) == (DATA, None)
    assert apart(None, {1}) == (None, None)
    assert not has_labels(bare)
    assert apart(bare, {1})[0] is bare


def test_the_samples_of_all_other_classes():
    assert rows(without_class(DATA, 2)) == [1, 2, 4]
    assert without_class(TensorDataset(torch.zeros(2, 1), torch.tensor([3, 3])), 3) is None
