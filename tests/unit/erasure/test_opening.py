"""What a request is opened with: the method, and data that must be apart."""

import pytest
import torch
from torch import nn
from torch.utils.data import ConcatDataset, Subset, TensorDataset

import unspan
from unspan.erasure.choosing import situation_of
from unspan.errors import DataError, UsageError
from unspan.run import Run

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


class Embedder(nn.Module):
    """Unit vectors, whose last layer may be taken for a head where one sample is looked at."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(20, 64), nn.Linear(64, 32)

    def forward(self, x):
        return nn.functional.normalize(self.last(torch.relu(self.first(x))), dim=1)


@pytest.fixture(scope="module")
def people():
    torch.manual_seed(0)
    labels = torch.arange(400) % 20
    x = 2 * torch.randn(20, 20)[labels] + torch.randn(400, 20)
    return TensorDataset(x, labels)


def asked(people, count):
    labels = people.tensors[1]
    own, others = ((labels == 3).nonzero()[:count, 0], (labels != 3).nonzero()[:, 0])
    return unspan.Request(
        forget=Subset(people, own.tolist()),
        retain=Subset(people, others.tolist()),
        kind="class",
        classes=(3,),
        selector=("3",),
    )


@pytest.mark.parametrize("count", [1, 2, 3])
def test_one_photo_tells_an_embedding_model_too(people, count):
    model = Embedder().eval()
    assert situation_of(model, asked(people, count), Run()).embeds
    if count < 3:
        with pytest.raises(DataError, match=f"at least 3 samples.*there are {count}"):
            unspan.erase(model, asked(people, count))


def test_a_name_in_place_of_a_method_is_said_with_against_too(digits_net, digits_request):
    with pytest.raises(UsageError, match="is not a method"):
        unspan.erase(digits_net, digits_request, "resample", against="outputs")


@pytest.mark.parametrize("part", ["forget", "retain"])
def test_held_out_samples_must_be_apart(digits_net, digits_request, digits, part):
    own = Subset(getattr(digits_request, part), [0, 1])
    copies = TensorDataset(*(torch.stack(one) for one in zip(*map(own.__getitem__, (0, 1)))))
    for shared in (own, copies):
        held = ConcatDataset([digits["test"], shared])
        request = unspan.Request(**vars(digits_request) | {"holdout": held})
        with pytest.raises(DataError, match=f"{part} set and the held-out samples share 2"):
            unspan.erase(digits_net, request)
