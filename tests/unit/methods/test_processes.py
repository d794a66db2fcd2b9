"""Methods in several processes: the weights of one process, or all stop with the reason."""

import os
import signal
import time
from dataclasses import fields, replace

import pytest
import torch
from process_group import results
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import unspan
from unspan.extraction import statistics
from unspan.methods import METHODS, EraserMethod, TrainedMethod, by_name
from unspan.methods.dlfd import DLFD
from unspan.methods.resample import Resample

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CLASSES, DIM, SAMPLES = 5, 8, 301  # 61 samples to forget and 240 to keep: uneven for two processes
FITTED = [kind.name for kind in METHODS if issubclass(kind, EraserMethod)]
TRAINED = [kind.name for kind in METHODS if issubclass(kind, TrainedMethod)]
ALONE = [kind.name for kind in METHODS if kind().one_process]
SHARED = [*(name for name in FITTED if name not in ALONE), "resample, head only"]
TIMEOUT = 10  # seconds

SCENARIOS = {
    **{
        f"{name}, {world}": {"world": world, "method": name}
        for name in SHARED
        for world in (1, 2, 3)
    },
    **{
        f"{name}, {form}, {world}": {"world": world, "method": name, "form": form}
        for name in SHARED
        if name != "resample, head only"
        for form in ("samples", "one batch")
        for world in (1, 3)
    },
    **{
        f"{name}, {world}": {"world": world, "method": name}
        for name in TRAINED
        if name not in ALONE
        for world in (1, 3)
    },
    **{f"{name}, alone": {"world": 2, "method": name} for name in ALONE},
    "statistics, 1": {"world": 1, "method": "statistics"},
    "statistics, 3": {"world": 3, "method": "statistics"},
    "key": {"world": 2, "method": "resample", "key": False},
    "batch norm": {"world": 2, "method": "finetune", "norm": True},
    "one sample to forget": {"world": 3, "method": "finetune", "forget": 1},
    "killed, fitted": {"world": 3, "method": "resample", "kill": "reading data to keep"},
    "killed, trained": {"world": 3, "method": "finetune", "kill": "finetune"},
}


def network(norm):
    """A trained network of five classes, and its samples."""
    torch.manual_seed(0)
    y = torch.arange(SAMPLES) % CLASSES
    x = 2 * torch.randn(CLASSES, DIM)[y] + 0.7 * torch.randn(SAMPLES, DIM)
    between = [nn.BatchNorm1d(16)] if norm else []
    net = nn.Sequential(
        nn.Linear(DIM, 16),
        *between,
        nn.ReLU(),
        nn.Linear(16, 12),
        nn.ReLU(),
        nn.Linear(12, CLASSES),
    )
    adam = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(100):
        adam.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        adam.step()
    return net.eval(), x, y


def method_of(name):
    """The method with short training, and running statistics that stay."""
    if name == "resample, head only":
        return Resample(statistics="head")
    method = DLFD(save=1.0, steps=3) if name == "dlfd" else by_name(name)()
    if "training" not in {field.name for field in fields(method)}:
        return method
    assert method.training is not None
    return replace(method, training=replace(method.training, epochs=2, batch=62))


def request_of(settings, x, y):
    """Class 2, or its samples without a class, or both parts as one batch."""
    data, form = TensorDataset(x, y), settings.get("form")
    gone = y == 2
    gone[gone.nonzero()[settings.get("forget", SAMPLES) :, 0]] = False
    parts = [TensorDataset(x[rows], y[rows]) for rows in (gone, ~gone)]
    if form == "one batch":  # so all other processes read nothing
        parts = [DataLoader(part, batch_size=SAMPLES) for part in parts]
    request = unspan.Request.by_class(data, 2)
    if form is not None or "forget" in settings:
        request = unspan.Request(forget=parts[0], retain=parts[1])
    return replace(request, holdout=TensorDataset(x + 0.01, y))


def work(settings, rank):
    """What the erasure made: its hash and its weights; or how it ended, and when."""
    net, x, y = network(settings.get("norm"))
    begun = time.monotonic()

    def progress(stage, done, total):
        if rank == 1 and stage.startswith(settings.get("kill", "never")) and done > 0:
            os.kill(os.getpid(), signal.SIGKILL)

    run = unspan.Run(batch_size=16, timeout=TIMEOUT, progress=progress)
    name, options = settings["method"], {}
    if name == "statistics":
        found = statistics.of_model(net, TensorDataset(x, y), run)
        tensors = [one for one in vars(found).values() if isinstance(one, torch.Tensor)]
        return {"weights": [one.double().flatten().tolist() for one in tensors]}
    if name == "redraw":
        net, options = net[:-1], {"feature_layer": "output"}
    try:
        done = unspan.erase(
            net,
            request_of(settings, x, y),
            method_of(name),
            run,
            check_labels=False,
            measure=False,
            key=b"k" * 32 if settings.get("key", True) else None,
            **options,
        )
    except unspan.UnspanError as error:
        seconds = time.monotonic() - begun
        return {"error": type(error).__name__, "text": str(error), "seconds": seconds}
    weights = [one.double().flatten().tolist() for one in done.model.state_dict().values()]
    return {"hash": done.receipt["model"]["sha256_after"], "weights": weights}


@pytest.fixture(scope="module")
def said():
    """What each process of every scenario reported, in rank order."""
    return results(__file__, SCENARIOS)


def gap(one, other):
    """Largest difference of two sets of weights, as a share of the largest of each tensor."""
    pairs = [(torch.tensor(a), torch.tensor(b)) for a, b in zip(one, other, strict=True)]
    return max(
        float((a - b).abs().max() / a.abs().max().clamp_min(1e-9)) for a, b in pairs if len(a)
    )


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("name", SHARED)
def test_a_map_in_several_processes_is_that_of_one(said, name, world):
    alone = said[f"{name}, 1"][0]
    assert "hash" in alone, alone
    assert [one.get("hash") for one in said[f"{name}, {world}"]] == [alone["hash"]] * world


@pytest.mark.parametrize("form", ["samples", "one batch"])
@pytest.mark.parametrize("name", [name for name in SHARED if name != "resample, head only"])
def test_so_it_is_without_a_class_and_where_two_of_three_processes_read_nothing(said, name, form):
    alone = said[f"{name}, {form}, 1"][0]
    assert "hash" in alone, alone
    assert [one.get("hash") for one in said[f"{name}, {form}, 3"]] == [alone["hash"]] * 3


@pytest.mark.parametrize("name", [name for name in TRAINED if name not in ALONE])
def test_training_in_several_processes_gives_the_weights_of_one_up_to_rounding(said, name):
    alone, several = said[f"{name}, 1"][0], said[f"{name}, 3"]
    if "error" in alone:  # some methods find nothing to do here, in any number of processes
        assert [one.get("error") for one in several] == [alone["error"]] * 3
        return
    assert len({one.get("hash") for one in several}) == 1, several
    assert gap(alone["weights"], several[0]["weights"]) < 1e-5


def test_statistics_of_several_processes_are_those_of_one(said):
    alone = said["statistics, 1"][0]
    assert "weights" in alone, alone
    assert said["statistics, 3"] == [alone] * 3


@pytest.mark.parametrize("name", ALONE)
def test_a_method_that_needs_all_samples_at_once_says_so(said, name):
    found = said[f"{name}, alone"]
    assert [one.get("error") for one in found] == ["UsageError"] * 2, found
    assert all("one process" in one["text"] for one in found)


def test_a_key_that_is_drawn_is_the_same_in_all_processes(said):
    found = {one.get("hash") for one in said["key"]}
    assert len(found) == 1 and found != {said["resample, 1"][0]["hash"]}


def test_batch_norm_that_follows_the_minibatch_is_refused(said):
    found = said["batch norm"]
    assert [one.get("error") for one in found] == ["UsageError"] * 2, found
    assert all("batchnorm='frozen'" in one["text"] for one in found)


def test_a_process_without_a_sample_to_forget_trains_along(said):
    found = said["one sample to forget"]
    assert len({one.get("hash") for one in found}) == 1 and "hash" in found[0], found


@pytest.mark.parametrize("kind", ["fitted", "trained"])
def test_where_one_process_is_killed_the_others_end_in_time(said, kind):
    first, killed, third = said[f"killed, {kind}"]
    assert killed == {"died": True}
    for one in (first, third):
        assert one.get("error") == "ResourceError", one
        assert "Another process died" in one["text"]
        assert one["seconds"] < TIMEOUT + 5
