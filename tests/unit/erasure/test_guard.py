"""Collateral damage is measured, said, and refused above a limit; so is a deletion that did
nothing.
"""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset
from typer.testing import CliRunner

import unspan
from unspan.artifact.record import RECORD
from unspan.cli import app
from unspan.erasure import guard
from unspan.erasure.collateral import draw, set_apart
from unspan.erasure.evaluation import Answers
from unspan.erasure.predictions import Pair
from unspan.errors import InconclusiveError, UsageError
from unspan.extraction import find_feature_layer
from unspan.methods import METHODS, by_name
from unspan.run import Run
from unspan.training.settings import Training

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


@pytest.mark.parametrize(("one_of", "counts"), [(1, [334, 30, 4]), (10, [334, 3, 0])])
def test_every_class_is_among_the_samples_that_are_measured(one_of, counts):
    labels = [0] * 5000 + [1] * 30 + [2] * 4
    first, more = draw(labels, 1000, 0, one_of)
    assert [[labels[row] for row in first].count(label) for label in range(3)] == counts
    assert more == {} and draw(labels, 1000, 0, one_of) == (first, more)
    assert draw(labels, 1000, 1, one_of)[0] != first


def test_of_many_classes_a_few_samples_are_read_first_and_more_of_the_suspects():
    labels = [row % 500 for row in range(500 * 60)]
    first, more = draw(labels, 2000, 0, 1)
    assert len(first) == 2000 and set(map(len, more.values())) == {40} and len(more) == 500
    held = set(first) | {row for rows in more.values() for row in rows}
    assert len(held) == 500 * 44
    assert len(draw(list(range(10_000)), 2000, 0, 1)[0]) == 1000


def test_samples_without_a_label_are_passed_over_where_others_have_one():
    assert set(draw([-1, -1, 4, 4], 100, 0, 1)[0]) == {2, 3}
    assert len(draw([-1] * 30, 10, 0, 1)[0]) == 10


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
    return unspan.Request.by_index(data, rows)


def refused(match, *args, **settings):
    """The error of a result that is inconclusive, after looking at it."""
    with pytest.warns(UserWarning, match=match):
        done = unspan.erase(*args, **settings)
    assert done.receipt["status"] == "inconclusive" and "inconclusive" in repr(done)
    with pytest.raises(InconclusiveError, match=match) as caught:
        done.check()
    assert caught.value.exit_code == 7
    return caught.value


def test_a_person_that_takes_a_class_along_is_refused(model, data):
    told = "class 1 lost .* points .*Change rank .now 3.*max_drop"
    refused(told, model, person(data), unspan.ESC(rank=3))


def test_what_was_refused_is_neither_written_nor_built_on(model, data, tmp_path):
    with pytest.warns(UserWarning, match="class 1 lost"):
        done = unspan.erase(model, person(data), unspan.ESC(rank=3))
    with pytest.raises(InconclusiveError, match="class 1 lost"):
        done.save(tmp_path / "erased")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InconclusiveError, match="class 1 lost"):
        unspan.erase(done, unspan.Request.by_class(data, 2))
    accepted = unspan.erase(model, person(data), unspan.ESC(rank=3), max_drop=None)
    assert accepted.receipt["status"] == "erased" and accepted.save(tmp_path / "erased").is_dir()


@pytest.mark.parametrize("each", [3, 4])
def test_a_loss_of_all_classes_shows_where_each_has_too_few_samples(model, data, each):
    rows = (data.tensors[1] == 1).nonzero()[:30, 0].tolist()
    kept = list(range(1500 - 3 * each, 1500))
    splits = unspan.Request(forget=Subset(data, rows), retain=Subset(data, kept))
    refused("classes to keep lost .* points .* on average", model, splits, unspan.ESC(rank=10))


def test_samples_that_are_answered_as_before_are_told(model, data):
    for label, told in ((1, False), (0, True)):
        rows = (data.tensors[1] == label).nonzero()[:30, 0].tolist()
        method = unspan.ESC(rank=1 if told else 3)
        done = unspan.erase(model, unspan.Request.by_index(data, rows), method, max_drop=None)
        assert any("no change of the answers" in line for line in done.warnings) is told


def test_classes_whose_labels_belong_to_other_outputs_are_told():
    wide = nn.Linear(4, 4)
    wide.weight = nn.Parameter(torch.eye(4))
    y = torch.arange(400) % 4
    x = nn.functional.one_hot(y, 4).float()
    for order, told in (([0, 1, 3, 2], True), ([0, 1, 2, 3], False)):
        splits = unspan.Request.by_class(TensorDataset(x, torch.tensor(order)[y]), 0)
        feature_layer, _ = find_feature_layer(wide, x[:2])
        held = set_apart(splits, Run(), False)[1]
        found = guard.measured(
            Pair(wide, wide, feature_layer, feature_layer), splits, held, Run(), None
        )
        names = "hardly ever names class 2, class 3"
        assert any(names in line for line in found.warnings) is told


def part(done, name):
    return next(row for row in done.receipt["evaluation"] if row["part"] == name)


def test_any_loss_can_be_accepted_and_is_written_down(model, data):
    done = unspan.erase(model, person(data), unspan.ESC(rank=3), max_drop=None)
    worst = part(done, "worst retained class")
    assert done.receipt["collateral"]["limit"] is None and worst["label"] == 1
    assert worst["change"] < -0.5 and worst["change_low"] <= worst["change"] < worst["change_high"]
    assert part(done, "forget")["n"] == 30
    assert any("accepted" in line and "class 1 lost" in line for line in done.warnings)
    generous = unspan.erase(model, person(data), unspan.ESC(rank=3), max_drop=100)
    assert generous.receipt["collateral"]["limit"] == 100 and generous.warnings == [
        line for line in done.warnings if "accepted" not in line
    ]


@pytest.mark.parametrize("limit", [-1, 101, "two", float("nan"), True])
def test_a_limit_that_is_no_number_of_points_is_refused(model, data, limit):
    with pytest.raises(UsageError, match="max_drop"):
        unspan.erase(model, person(data), unspan.ESC(rank=1), max_drop=limit)


class Inputs(Dataset):
    """Samples without labels."""

    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, row):
        return self.x[row]


@pytest.mark.parametrize("kept", ["none", "without labels", "labels of something else", "unknown"])
def test_what_cannot_be_checked_is_said(model, data, kept):
    x, y = data.tensors
    retain = {
        "none": None,
        "without labels": Inputs(x[60:]),
        "labels of something else": TensorDataset(x[60:], y[60:] + 7),
        "unknown": TensorDataset(x[60:], (y[60:] + 1) % 3),
    }[kept]
    splits = unspan.Request(forget=Subset(data, range(60)), retain=retain)
    done = unspan.erase(model, splits, unspan.ESC(rank=1))
    found = done.receipt["collateral"]
    assert found["checked"] is False and found["why"]
    assert any("not checked" in line for line in done.warnings)
    assert [row["part"] for row in done.receipt["evaluation"]] == ["forget"]


def test_samples_to_forget_without_labels_are_compared_with_the_original_answers(model, data):
    rows = person(data)
    splits = unspan.Request(forget=Inputs(data.tensors[0][rows.forget.indices]), retain=rows.retain)
    done = unspan.erase(model, splits, unspan.ESC(rank=3), max_drop=None)
    forget = part(done, "forget")
    assert (forget["measure"], forget["before"]) == ("same answer", 1.0) and forget["after"] < 0.5


@pytest.mark.parametrize("wrap", [lambda data: data, lambda data: DataLoader(data, batch_size=50)])
def test_the_samples_to_keep_may_be_any_data(model, data, wrap):
    rows = person(data)
    splits = unspan.Request(forget=rows.forget, retain=wrap(rows.retain))
    refused("class 1 lost", model, splits, unspan.ESC(rank=3))


def test_a_class_request_is_held_to_the_average(model, data):
    splits = unspan.Request.by_class(data, 1)
    done = unspan.erase(model, splits)
    assert part(done, "retain")["n"] == 1000 and part(done, "forget")["after"] < 0.1
    assert part(done, "worst retained class")["label"] in (0, 2)
    assert done.receipt["collateral"]["of"] == "average"
    refused("classes to keep lost .* on average", model, splits, unspan.ESC(rank=10))


def test_a_further_request_counts_what_is_left_to_keep(model, data):
    first = unspan.erase(model, unspan.Request.by_class(data, 1), unspan.ESC(rank=1), max_drop=None)
    again = unspan.erase(first, unspan.Request.by_class(data, 2), unspan.ESC(rank=1), max_drop=None)
    assert [one[0] for one in part(again, "retain")["classes"]] == [0]


def test_the_guard_changes_nothing_of_the_result(model, data):
    splits = unspan.Request.by_class(data, 1)
    for method in (
        unspan.ESC(rank=2),
        by_name("bake")(training=Training(lr=0.1, epochs=5), steps=60),
    ):
        states = []
        for limit in (None, 100.0):
            torch.manual_seed(5)
            done = unspan.erase(model, splits, method, max_drop=limit, key=b"k" * 32)
            states.append([*done.model.state_dict().values(), torch.rand(1)])
        assert all(torch.equal(one, other) for one, other in zip(*states, strict=True))
    free = unspan.erase(model, splits, unspan.ESC(rank=2), measure=False, key=b"k" * 32)
    with_guard = unspan.erase(model, splits, unspan.ESC(rank=2), max_drop=None, key=b"k" * 32)
    assert torch.equal(free.eraser.basis, with_guard.eraser.basis)
    assert "collateral" not in free.receipt and free.receipt["evaluation"] == []


def test_embedding_models_are_held_to_identification(data):
    torch.manual_seed(0)
    embedder = nn.Sequential(nn.Linear(6, 12)).eval()
    splits = person(data)
    done = unspan.erase(embedder, splits, unspan.ESC(rank=1), feature_layer="output")
    kept = part(done, "retain")
    assert kept["measure"] == "rank-1" and min(kept["before"], kept["after"]) > 0.95
    broken = nn.Sequential(nn.Linear(6, 12)).eval()
    nn.init.zeros_(broken[0].weight)
    feature_layer = getattr(done.model, RECORD).feature_layer
    held = set_apart(splits, Run(), False)[1]
    worse = guard.measured(
        Pair(embedder, broken, feature_layer, feature_layer), splits, held, Run(), 2.0
    )
    assert "of rank-1" in worse.damage and worse.named is None


def test_many_classes_are_checked_on_fresh_samples_of_the_suspects():
    """Of 300 classes one is lost; two samples of each are read first."""
    labels = torch.arange(300 * 30) % 300
    data = TensorDataset(nn.functional.one_hot(labels, 300).float(), labels)
    good, bad = nn.Linear(300, 300, bias=False), nn.Linear(300, 300, bias=False)
    with torch.no_grad():
        good.weight.copy_(torch.eye(300))
        bad.weight.copy_(torch.eye(300))
        bad.weight[7] = 0
    before, after = nn.Sequential(good), nn.Sequential(bad)
    feature_layer, _ = find_feature_layer(before, torch.rand(2, 300))
    pair = Pair(before, after, feature_layer, feature_layer)
    splits = unspan.Request.by_index(data, range(10))
    held = set_apart(splits, Run(), False)[1]
    found = guard.measured(pair, splits, held, Run(), 2.0)
    assert found.damage.startswith("class 7 lost 100.0 points")
    assert found.record["samples"] < 2200


def test_samples_that_are_measured_are_not_trained_on(model, data):
    splits = unspan.Request.by_class(data, 1)
    inner, kept = set_apart(splits, Run(), learns=True)
    rows = set(inner.retain.indices)
    assert not rows & set(kept.first.indices) and kept.unseen
    assert len(rows) + len(kept.first) == len(splits.retain) and len(kept.first) == 100
    same, kept = set_apart(splits, Run(), learns=False)
    assert same is splits and not kept.unseen
    some = unspan.Request.by_class(Subset(data, range(90)), 1)
    inner, kept = set_apart(some, Run(), learns=True)
    assert len(inner.retain) == 54 and len(kept.first) == 40 and not kept.unseen
    assert len(set(kept.first.indices) - set(inner.retain.indices)) == 6
    few = unspan.Request.by_class(Subset(data, range(24)), 1)
    same, kept = set_apart(few, Run(), learns=True)
    assert same is few and len(kept.first) == 16 and not kept.unseen


# ---- a request that did nothing ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["finetune", "neggrad", "scrub", "boundary", "l1-sparse"])
def test_a_class_that_is_still_named_is_inconclusive_and_epochs_are_kept(
    model, data, tmp_path, name
):
    method = by_name(name)()
    method = replace(method, training=replace(method.training, lr=1e-6, epochs=2))
    folder = tmp_path / "epochs"
    splits = unspan.Request.by_class(data, 1)
    told = "class 1 is still named.*Raise .*now"
    assert str(folder) in str(refused(told, model, splits, method, resume=folder))
    assert any(folder.rglob("*.safetensors"))


def test_one_of_two_classes_that_is_still_named_is_told(data):
    answers = Answers(
        torch.tensor([0] * 100 + [1] * 100),
        torch.ones(200, dtype=torch.bool),
        torch.tensor([False] * 100 + [True] * 97 + [False] * 3),
        outputs=3,
    )
    assert guard._named(answers, (0, 1), ["cat", "dog", "bird"]).startswith("dog is still named")
    assert guard._named(answers, (0,), None) is None


@pytest.mark.parametrize(
    ("after", "told"), [(1.0, True), (0.85, True), (0.6, False), (0.34, False), (0.0, False)]
)
def test_named_as_before_is_more_than_half_of_what_was_known(after, told):
    right = torch.arange(200) < 200 * after
    answers = Answers(torch.zeros(200).long(), torch.ones(200).bool(), right, outputs=3)
    assert (guard._named(answers, (0,), None) is not None) is told


def test_epochs_of_a_refused_run_are_used_when_the_loss_is_accepted(model, data, tmp_path):
    method = by_name("boundary")(training=Training(lr=0.5, epochs=3))
    splits = unspan.Request.by_class(data, 1)
    told = "lost .* on average.*Change lr .now 0.5.*kept in"
    refused(told, model, splits, method, resume=tmp_path / "epochs")
    done = unspan.erase(model, splits, method, resume=tmp_path / "epochs", max_drop=None)
    assert any("went on after epoch 3" in line for line in done.warnings)


def test_the_model_of_a_refused_result_takes_no_further_request(digits_net, digits_request):
    """It carries its receipt: the guard would compare with a model that is damaged already."""
    with pytest.warns(UserWarning):
        result = unspan.erase(digits_net, digits_request, unspan.ESC(rank=25))
    assert result.receipt["status"] == "inconclusive"
    for given in (result, result.model):
        with pytest.raises(InconclusiveError):
            unspan.erase(given, digits_request, unspan.ESC(rank=1))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_method_names_settings_that_it_has(method):
    from unspan.methods import listed

    names = {name for name, _ in listed(method)}
    assert set(method().stronger) <= names


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
        said = json.loads((tmp_path / "erased/receipt.json").read_text())
        assert said["collateral"]["limit"] is None
        card = (tmp_path / "erased/README.md").read_text()
        assert "checked forget" in card and "checked worst class: class 1" in card
        assert "any loss was accepted" in card
        assert "checked worst" in found.stderr and "any loss was accepted" in found.stderr
        return
    assert found.exception.exit_code == (7 if limit is None else 2)
    assert not (tmp_path / "erased").exists() and not (tmp_path / "erased.private").exists()
