"""Statistics of the retain set: clusters, moments, and their file."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from unspan.errors import ModelError
from unspan.extraction import statistics
from unspan.extraction.statistics import clustering, files
from unspan.extraction.stream import TensorFeatures
from unspan.system.schemas import STATISTICS

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]
CLASSES, DIM = 6, 16


@pytest.fixture(scope="module")
def case():
    """Features of overlapping classes, the head of nearest centres, and its predictions."""
    generator = torch.Generator().manual_seed(7)
    centres = 4.0 * torch.linalg.qr(torch.randn(DIM, DIM, generator=generator))[0][:CLASSES]
    y = torch.arange(CLASSES).repeat_interleave(1500)
    z = centres[y] + torch.randn(len(y), DIM, generator=generator)
    head = centres.double(), -centres.double().square().sum(1) / 2
    return z, head, (z.double() @ head[0].T + head[1]).argmax(1)


@pytest.fixture
def path(case, tmp_path):
    """A file of statistics."""
    z, head, predicted = case
    return statistics.of_features(z, predicted, head).save(tmp_path / "s.safetensors")


def test_statistics_are_moments_of_clusters_of_what_the_head_names(case):
    z, head, named = case
    found = statistics.of_stream(TensorFeatures(z, named), head)
    for j in range(6):
        own, mine = z[named == j].double(), found.labels == j
        assert int(found.count[mine].sum()) == len(own) and 1 < int(mine.sum()) <= 8
        share = found.count[mine].double() / len(own)
        assert torch.allclose(share @ found.mean[mine], own.mean(0), atol=1e-5)
        gaps = found.mean[mine] - own.mean(0)
        total = torch.einsum(
            "k,kij->ij", (found.count[mine] - 1).double(), found.covariance[mine]
        ) + torch.einsum("k,ki,kj->ij", found.count[mine].double(), gaps, gaps)
        assert torch.allclose(
            total / (len(own) - 1), own.T.cov(), atol=1e-4
        )  # within and between make the whole
    assert set(found.without_classes([3]).labels.tolist()) == {0, 1, 2, 4, 5} and found.length == 0


def test_k_means_finds_separate_groups_and_leaves_small_ones_out():
    generator = torch.Generator().manual_seed(0)
    z = torch.cat(
        [torch.randn(n, 3, generator=generator) + 30 * i for i, n in enumerate((200, 150, 5))]
    )
    found = clustering.k_means(z, 3)
    assert all(float(group.std(0).max()) < 10 for group in found if len(group) < 200) and sum(
        map(len, found)
    ) in (350, 355)
    assert len(clustering.k_means(z, 1)) == 1 and clustering.k_means(z[:19], 8) == []


def test_a_reservoir_is_a_uniform_sample_whatever_the_order():
    z = torch.arange(10_000.0)[:, None].repeat(1, 2)
    kept, labels = statistics.reservoir(TensorFeatures(z, z[:, 0].long(), 200), 500)
    assert torch.equal(kept[:, 0].long(), labels)
    assert len(kept) == len(labels.unique()) == 500
    assert abs(float(kept[:, 0].mean()) - 5000) < 400
    order = torch.randperm(len(z), generator=torch.Generator().manual_seed(0))
    other = TensorFeatures(z[order], order, 70)
    assert torch.equal(statistics.reservoir(other, 500)[0], kept)


def test_a_reservoir_of_fewer_samples_holds_all_with_their_labels():
    z = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    kept, labels = statistics.reservoir(TensorFeatures(z, torch.arange(100)), 500)
    assert torch.equal(kept, z[labels]) and sorted(labels.tolist()) == list(range(100))
    assert bool((statistics.reservoir(TensorFeatures(z), 500)[1] == -1).all())


def test_samples_of_one_digest_are_ordered_by_their_labels():
    z = torch.ones(4, 2)
    labels = [torch.tensor([3, 1, 2, 0]), torch.tensor([0, 3, 2, 1])]
    found = [statistics.reservoir(TensorFeatures(z, own), 3)[1].tolist() for own in labels]
    assert found == [[0, 1, 2], [0, 1, 2]]


def test_a_cluster_of_few_samples_is_left_out(case):
    z, head, named = case
    others = (named != 5).nonzero()[:, 0]
    few = (named == 5).nonzero()[:19, 0]
    rows = torch.cat([others, few])
    assert 5 not in statistics.of_features(z[rows], named[rows], head).labels.tolist()


@pytest.mark.parametrize(
    "spoil", ["schema", "shape", "bytes", "nan", "count", "labels", "order", "length"]
)
def test_a_damaged_file_of_statistics_is_refused(path, spoil):
    found = statistics.load(path)
    if spoil == "bytes":
        path.write_bytes(path.read_bytes()[:300])
    else:
        tensors = {
            name: getattr(found, name).contiguous()
            for name in (
                "rows",
                "labels",
                "count",
                "mean",
                "covariance",
                "correlation",
                "quantiles",
            )
        }
        tensors["mean"] = (
            tensors["mean"] * torch.nan
            if spoil == "nan"
            else tensors["mean"][:, :-1].contiguous()
            if spoil == "shape"
            else tensors["mean"]
        )
        wrong = {
            "count": ("count", torch.zeros_like(found.count)),
            "labels": ("labels", found.labels - 9),
            "order": ("quantiles", found.quantiles.flip(2).contiguous()),
        }
        tensors |= dict([wrong[spoil]]) if spoil in wrong else {}
        said = {
            "schema": "other/1" if spoil == "schema" else STATISTICS.schema,
            "length": "nan" if spoil == "length" else "0.0",
            "model": "",
        }
        save_file(tensors, path, metadata=said | {"digest": files.digest(tensors, said)})
    with pytest.raises(ModelError, match="unspan stats"):
        statistics.load(path)


def test_a_file_of_statistics_that_was_edited_is_refused(path):
    with safe_open(path, "pt") as file:
        said = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for name, part in {"mean": {"mean": tensors["mean"] + 1}, "length": {}}.items():
        save_file(
            tensors | part, path, metadata=said | ({"length": "5.0"} if name == "length" else {})
        )
        with pytest.raises(ModelError, match="changed after it was written"):
            statistics.load(path)
    save_file(tensors, path, metadata=said)
    assert len(statistics.load(path).mean) == len(tensors["mean"])


@pytest.mark.parametrize(("n", "many"), [(100, 1), (300, 1), (400, 2), (5000, 8)])
def test_clusters_hold_twice_as_many_samples_as_features_on_average(n, many):
    groups = clustering.k_means(torch.randn(n, 96, generator=torch.Generator().manual_seed(0)), 8)
    assert len(groups) == many and sum(map(len, groups)) == n
