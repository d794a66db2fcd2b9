"""Which retained samples are read where only a part may be."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import Dataset

import unspan
from unspan.methods import LEACE


class Sorted(Dataset):
    """Digits in the order of their classes, as a folder of folders has them; notes what is read."""

    def __init__(self):
        x, y = load_digits(return_X_y=True)
        order = y.argsort(kind="stable")
        self.x = torch.tensor(x[order] / 16, dtype=torch.float32)
        self.targets = torch.tensor(y[order]).tolist()
        self.read = []

    def __len__(self):
        return len(self.x)

    def __getitem__(self, row):
        self.read.append(row)
        return self.x[row], self.targets[row]


def test_a_part_of_sorted_data_holds_all_classes():
    data = Sorted()
    request = unspan.Request.by_class(data, 3)
    model = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    data.read.clear()
    unspan.erase(
        model,
        request,
        LEACE(),
        unspan.Run(max_samples=100),
        check_labels=False,
        measure=False,
    )
    classes = {data.targets[row] for row in data.read}
    assert classes == set(range(10))
