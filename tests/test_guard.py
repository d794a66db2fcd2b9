"""Collateral damage is measured, said, and refused above a limit; so is a deletion that did
nothing.
"""

import json

import pytest
import torch
from torch import nn
from torch.utils.data import Subset, TensorDataset
from typer.testing import CliRunner

import unspan
from unspan import guard
from unspan.cli import app
from unspan.deletion import RECORD
from unspan.errors import InconclusiveError, UsageError
from unspan.methods import METHODS, by_name
from unspan.run import Run
from unspan.training import Training


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.1])
@pytest.mark.parametrize("n", [20, 100, 1000])
def test_a_harmless_change_is_refused_in_at_most_one_run_of_twenty(n, rate):
    """As many samples turn wrong as turn right: no accuracy is lost."""
    generator = torch.Generator().manual_seed(0)
    draws = torch.rand(2000, n, generator=generator)
    lost, gained = (draws < rate).sum(1).tolist(), (draws > 1 - rate).sum(1).tolist()
    wrong = sum(guard.loss_bound(a, b, n, 0.05) > 0 for a, b in zip(lost, gained, strict=True))
    assert wrong <= 0.05 * 2000


def test_the_bound_is_the_difference_of_exact_bounds():
    from scipy.stats import binomtest

    lost, gained, n = 37, 5, 200
    low = binomtest(lost, n).proportion_ci(0.95, "exact").low
    high = binomtest(gained, n).proportion_ci(0.95, "exact").high
    assert guard.loss_bound(lost, gained, n, 0.05) == pytest.approx(low - high)


def test_a_bound_over_many_classes_is_corrected():
    before = torch.ones(400, dtype=torch.bool)
    after = before.clone()
    after[:6] = False
    labels = torch.arange(400) // 40
    one = guard._worst(before[:40], after[:40], labels[:40])
    ten = guard._worst(before, after, labels)
    assert ten.label == 0 and ten.loss_low < one.loss_low


def test_every_class_is_among_the_samples_that_are_measured():
    labels = torch.cat([torch.zeros(5000), torch.ones(30), torch.full((4,), 2.0)]).long()
    data = TensorDataset(torch.zeros(len(labels), 1), labels)
    chosen = guard.sampled(data, Run())
    counts = labels[torch.tensor(chosen.indices)].bincount()
    assert counts.tolist() == [666, 30, 4]
    again = guard.sampled(data, Run())
    assert chosen.indices == again.indices


# ---- a request that hurts ------------------------------------------------------------------------


class Person(nn.Module):
    """Two inputs a class; a person's images share one feature with all of class 1."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(6, 12)
        self.fc = nn.Linear(12, 3)

    def forward(self, x):
        return self.fc(torch.relu(self.body(x)))


@pytest.fixture(scope="module")
def data():
    torch.manual_seed(0)
    y = torch.arange(1500) % 3
    x = 0.3 * torch.randn(1500, 6)
    x[torch.arange(1500), y] += 3
    return TensorDataset(x, y)


@pytest.fixture(scope="module")
def model(data):
    torch.manual_seed(0)
    net = Person()
    x, y = data.tensors
    adam = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(80):
        adam.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        adam.step()
    return net.eval()


def person(data):
    """Thirty samples of class 1: an eraser of them takes the class with it."""
    rows = (data.tensors[1] == 1).nonzero()[:30, 0].tolist()
    return unspan.Splits.by_index(data, rows)


def test_a_person_that_takes_a_class_along_is_refused(model, data):
    with pytest.raises(InconclusiveError, match="retained class 1.*points.*max_drop") as caught:
        unspan.erase(model, person(data), unspan.ESC(rank=3))
    assert caught.value.exit_code == 7


def test_any_loss_can_be_accepted_and_is_written_down(model, data):
    done = unspan.erase(model, person(data), unspan.ESC(rank=3), max_drop=None)
    found = done.receipt["collateral"]
    assert found["limit"] is None and found["worst"]["label"] == 1
    assert found["worst"]["before"] - found["worst"]["after"] > 0.5
    assert found["forget"]["n"] == 30
    generous = unspan.erase(model, person(data), unspan.ESC(rank=3), max_drop=100)
    assert generous.receipt["collateral"]["limit"] == 100


@pytest.mark.parametrize("limit", [-1, 101, "two", float("nan")])
def test_a_limit_that_is_no_number_of_points_is_refused(model, data, limit):
    with pytest.raises(UsageError, match="max_drop"):
        unspan.erase(model, person(data), unspan.ESC(rank=1), max_drop=limit)


def test_without_retained_samples_it_says_not_checked(model, data):
    done = unspan.erase(model, Subset(data, range(60)), unspan.ESC(rank=1))
    assert any("not checked" in line for line in done.warnings)
    assert done.receipt["collateral"]["retain"] is None


def test_a_class_request_is_held_to_the_average(model, data):
    splits = unspan.Splits.by_class(data, 1)
    done = unspan.erase(model, splits)
    found = done.receipt["collateral"]
    assert found["retain"]["n"] > 100
    assert found["forget"]["after"] < 0.1 and found["worst"]["label"] in (0, 2)
    with pytest.raises(InconclusiveError, match="retained samples"):
        unspan.erase(model, splits, unspan.ESC(rank=11))


def test_embedding_models_are_held_to_identification(data):
    torch.manual_seed(0)
    embedder = nn.Sequential(nn.Linear(6, 12)).eval()
    x, y = data.tensors
    rows = (y == 1).nonzero()[:30, 0].tolist()
    splits = unspan.Splits.by_index(TensorDataset(x, y), rows)
    done = unspan.erase(embedder, splits, unspan.ESC(rank=1), tap="output")
    found = done.receipt["collateral"]
    assert found["unit"] == "rank-1" and found["forget"] is None
    assert found["retain"]["before"] > 0.95 and found["retain"]["after"] > 0.95
    broken = nn.Sequential(nn.Linear(6, 12)).eval()
    nn.init.zeros_(broken[0].weight)
    record = getattr(done.model, RECORD)
    kept = guard.sampled(splits.retain, Run())
    worse = guard.measure(embedder, broken, record.tap, splits, kept, Run())
    with pytest.raises(InconclusiveError, match="retained class"):
        guard.decide(worse, "samples", 2.0, "any", (), 0)


def test_samples_that_are_measured_are_not_trained_on(model, data):
    splits = unspan.Splits.by_class(data, 1)
    inner, kept = guard.held_out(splits, Run(), trains=True)
    rows = set(inner.retain.indices)
    assert not rows & set(kept.indices) and len(rows) + len(kept) == len(splits.retain)
    same, kept = guard.held_out(splits, Run(), trains=False)
    assert same is splits


# ---- a request that did nothing ------------------------------------------------------------------


def test_a_class_that_is_still_named_is_inconclusive_and_epochs_are_kept(model, data, tmp_path):
    method = by_name("finetune")(training=Training(lr=1e-4, epochs=2))
    folder = tmp_path / "epochs"
    with pytest.raises(InconclusiveError, match="still named.*Raise lr or epochs") as caught:
        unspan.erase(model, unspan.Splits.by_class(data, 1), method, resume=folder)
    assert caught.value.exit_code == 7
    assert any(folder.rglob("*"))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_method_names_settings_that_it_has(method):
    from unspan.methods import listed

    names = {name for name, _ in listed(method)}
    assert set(method.stronger) <= names


# ---- on the command line -------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [None, "none", "much"])
def test_the_command_publishes_nothing_above_the_limit(tmp_path, monkeypatch, limit):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "made_guard.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "from torch.utils.data import TensorDataset\n"
        "def data():\n"
        "    torch.manual_seed(0)\n"
        "    y = torch.arange(600) % 3\n"
        "    x = 0.3 * torch.randn(600, 6)\n"
        "    x[torch.arange(600), y] += 3\n"
        "    return TensorDataset(x, y)\n"
        "def model():\n"
        "    torch.manual_seed(0)\n"
        "    net = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))\n"
        "    x, y = data().tensors\n"
        "    adam = torch.optim.Adam(net.parameters(), 0.02)\n"
        "    for _ in range(80):\n"
        "        adam.zero_grad()\n"
        "        nn.functional.cross_entropy(net(x), y).backward()\n"
        "        adam.step()\n"
        "    return net\n"
    )
    index = ",".join(str(1 + 3 * i) for i in range(30))
    command = ["erase", "--model", "python:made_guard:model", "--data", "python:made_guard:data"]
    command += ["--forget-index", index, "--method", "esc", "--rank", "3", "--out", "erased"]
    found = CliRunner().invoke(app, command if limit is None else [*command, "--max-drop", limit])
    if limit == "none":
        assert found.exit_code == 0, found.exception
        said = json.loads((tmp_path / "erased/receipt.json").read_text())["collateral"]
        assert said["worst"]["label"] == 1
        assert "class kept that lost most" in (tmp_path / "erased/README.md").read_text()
        return
    assert found.exception.exit_code == (7 if limit is None else 2)
    assert not (tmp_path / "erased").exists() and not (tmp_path / "erased.private").exists()


# ---- frozen layers -------------------------------------------------------------------------------


class Frozen(nn.Module):
    """A frozen body with batch norms, with and without parameters, and a head that may change."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(6, 16),
            nn.BatchNorm1d(16),
            nn.ReLU(),
            nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16, affine=False)),
        )
        self.mid = nn.Linear(16, 16)
        self.norm = nn.BatchNorm1d(16)
        self.fc = nn.Linear(16, 3)

    def forward(self, x):
        return self.fc(torch.relu(self.norm(self.mid(self.body(x)))))


TRAINED = [method for method in METHODS if callable(getattr(method, "unlearn", None))]


@pytest.mark.parametrize("method", TRAINED, ids=lambda method: method.name)
def test_frozen_layers_stay_bit_for_bit(data, method):
    from dataclasses import replace

    torch.manual_seed(0)
    net = Frozen()
    x, y = data.tensors
    adam = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(20):
        adam.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        adam.step()
    net.eval().body.requires_grad_(False)
    splits = unspan.Splits.by_class(data, 1)
    splits = replace(splits, holdout=Subset(data, range(1, 300, 3)))
    try:
        done = unspan.erase(net, splits, method(), measure=False)
    except UsageError as error:
        assert method.name == "retrain" and "frozen" in str(error)
        return
    before, after = net.body.state_dict(), done.model.body.state_dict()
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert moved == []
    if method.name == "finetune":
        assert not torch.equal(net.norm.running_mean, done.model.norm.running_mean)
