"""The numbers of a fitted map, bit for bit: code may be rewritten, results may not change.

Sums depend on the processor, the linear algebra library and torch. So the digests are compared only
with a torch that is not older than the one they were recorded with, and where a fixed computation
gives the same bits.
"""

from hashlib import sha256

import pytest
import torch
from torch import nn
from torch.utils.data import Subset, TensorDataset

import unspan
from unspan.extraction import statistics
from unspan.extraction.statistics import computing
from unspan.methods import Resample
from unspan.methods.bake import Bake
from unspan.training.settings import Training

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]
KEY = b"a key of these tests"
DIM, CLASSES = 12, 5


def digest(tensors):
    """Hash of the values of tensors in their order, whatever they are called."""
    found = sha256()
    for tensor in tensors:
        found.update(str(tuple(tensor.shape)).encode() + tensor.contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def arithmetic():
    """Digest of what this machine makes of a fixed computation."""
    x = torch.randn(300, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values, vectors = torch.linalg.eigh(x.mT @ x)
    small = (x.float() @ x.float().mT).softmax(1)
    return digest([values, vectors, torch.linalg.qr(x)[0], small])


def data():
    """Overlapping classes, and a head that tells them apart."""
    generator = torch.Generator().manual_seed(7)
    centres = 3.0 * torch.linalg.qr(torch.randn(DIM, DIM, generator=generator))[0][:CLASSES]
    y = torch.arange(CLASSES).repeat(250)
    z = centres[y] + torch.randn(len(y), DIM, generator=generator)
    return TensorDataset(z, y), centres


def classifier():
    samples, centres = data()
    model = nn.Sequential(nn.Identity(), nn.Linear(DIM, CLASSES)).eval()
    with torch.no_grad():
        model[1].weight.copy_(centres)
        model[1].bias.copy_(-centres.square().sum(1) / 2)
    return model, samples


def split(samples):
    """Class 0 as samples without a class, and the rest."""
    y = samples.tensors[1]
    parts = [(y == 0).nonzero()[:, 0].tolist(), (y != 0).nonzero()[:, 0].tolist()]
    return unspan.Request(forget=Subset(samples, parts[0]), retain=Subset(samples, parts[1]))


def by_class(**settings):
    model, samples = classifier()
    request = unspan.Request.by_class(samples, 0)
    return unspan.erase(model, request, Resample(**settings), key=KEY, measure=False)


def of_samples(**settings):
    model, samples = classifier()
    return unspan.erase(model, split(samples), Resample(**settings), key=KEY, measure=False)


class OneLength(nn.Module):
    """Features of length 1, without a head."""

    def forward(self, x):
        return nn.functional.normalize(x, dim=1)


def of_embeddings():
    samples, _ = data()
    return unspan.erase(
        OneLength(), split(samples), Resample(), feature_layer="output", key=KEY, measure=False
    )


def from_file(tmp_path, of=by_class, **settings):
    model, samples = classifier()
    path = statistics.of_model(model, samples, unspan.Run()).save(tmp_path / "s.safetensors")
    return of(statistics=str(path), **settings)


def shared(monkeypatch):
    monkeypatch.setattr(computing, "COVARIANCE_LIMIT", 4 * DIM**2 - 1)
    return by_class()


CASES = {
    "by class": lambda tmp_path, patch: by_class(),
    "head": lambda tmp_path, patch: by_class(statistics="head"),
    "file": lambda tmp_path, patch: from_file(tmp_path),
    "samples": lambda tmp_path, patch: of_samples(),
    "samples, file": lambda tmp_path, patch: from_file(tmp_path, of_samples, false_positives=0.2),
    "embeddings": lambda tmp_path, patch: of_embeddings(),
    "one covariance": lambda tmp_path, patch: shared(patch),
}
WANTED = {
    "by class": "1d9275a61f1537c1",
    "head": "177e50835b3cdf66",
    "file": "ca7687f5294d0808",
    "samples": "94dd1fbb96fdaba1",
    "samples, file": "dc75d28d777b8af3",
    "embeddings": "7694f9838dddf191",
    "one covariance": "dbcd2738a9f07476",
    "bake": "bcef83e74f9e5c5e",
}


@pytest.fixture
def recorded_here():
    release = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if release < (2, 13) or arithmetic() != "f9b0f3be535831e8":
        pytest.skip("digests were recorded with other arithmetic")


@pytest.mark.parametrize("case", CASES)
def test_resample_gives_the_same_map_bit_for_bit(case, recorded_here, tmp_path, monkeypatch):
    done = CASES[case](tmp_path, monkeypatch)
    z = data()[0].tensors[0]
    found = [*done.eraser.buffers(), unspan.features(done.model, z)]
    assert digest(found) == WANTED[case]


def test_bake_gives_the_same_weights_bit_for_bit(recorded_here):
    samples, _ = data()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(DIM, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU())
    model.append(nn.Linear(8, CLASSES))
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(30):
        adam.zero_grad()
        nn.functional.cross_entropy(model(samples.tensors[0]), samples.tensors[1]).backward()
        adam.step()
    method = Bake(steps=12, layers=2, training=Training(lr=0.02, epochs=2, batch=64, cosine=True))
    request = unspan.Request.by_class(samples, 0)
    done = unspan.erase(model.eval(), request, method, key=KEY, measure=False)
    assert digest(done.model.state_dict().values()) == WANTED["bake"]
