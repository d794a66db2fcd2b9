"""Several processes give the model that one process gives, bit for bit, or all of them stop with
the reason.
"""

import os
import signal

import pytest
import torch
from process_group import results
from torch import nn

import unspan

pytestmark = pytest.mark.timeout(300)

# name -> number of processes and settings
SCENARIOS = {
    "1": {"world": 1},
    "1, loader worker": {"world": 1, "workers": 1},
    "2": {"world": 2},
    "2, loader worker": {"world": 2, "workers": 1},
    "3": {"world": 3},
    "4": {"world": 4},
    "loader": {"world": 2, "loader": True},
    "other settings": {"world": 3, "ranks": [2, 2, 3]},
    "esc-t": {"world": 2, "method": "esc-t"},
    "adaptive": {"world": 2, "adaptive": True},
    "few samples": {"world": 4, "samples": 3},
    "spoilt": {"world": 3, "spoilt": 16},
    "stream": {"world": 3, "stream": True},
    "absent": {"world": 2, "timeout": 3, "ends": "joining"},
    "hung": {"world": 2, "timeout": 3, "ends": "reading"},
}


def work(settings, rank):
    if rank == 1 and settings.get("ends") == "joining":
        return "absent"

    def progress(stage, done, total):
        if rank == 1 and settings.get("ends") == "reading" and stage.startswith("reading"):
            os.kill(os.getpid(), signal.SIGSTOP)

    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 4)
    )
    x = torch.randn(settings.get("samples", 75), 8)
    if "spoilt" in settings:
        x[settings["spoilt"]] = torch.nan
    data = torch.utils.data.TensorDataset(x, model(x).argmax(1))
    if settings.get("loader"):
        data = torch.utils.data.DataLoader(data, batch_size=8)
    if settings.get("stream"):
        data = iter(torch.utils.data.DataLoader(data, batch_size=8))
    ranks = settings.get("ranks", [2])
    esc = unspan.ESC(rank=ranks[rank % len(ranks)], adaptive=settings.get("adaptive", False))
    method = unspan.methods.ESCT() if settings.get("method") == "esc-t" else esc
    limit = 75 if settings.get("stream") else None
    workers = settings.get("workers", 0)
    run = unspan.Run(
        batch_size=8,
        workers=workers,
        timeout=settings.get("timeout", 10),
        max_samples=limit,
        progress=progress,
    )
    done = unspan.erase(
        model, data, method, run, check_labels=False, key=b"k" * 32, measure=limit is None
    )
    account = done.receipt
    return {
        "hash": account["model"]["sha256_after"],
        "samples": account["method"]["fit"]["samples"],
        "commitment": account["request"]["commitment"],
        "accuracy": account["forget_accuracy_before"],
        "singular": account["method"]["fit"]["singular_values"],
        "processes": account["run"]["processes"],
    }


@pytest.fixture(scope="module")
def said():
    """What each process of every scenario reported, in rank order."""
    return results(__file__, SCENARIOS)


@pytest.mark.parametrize("name", ["1, loader worker", "2", "2, loader worker", "3", "4"])
def test_processes_give_the_weights_of_one_process(said, name):
    alone = said["1"][0]
    assert alone["samples"] == 75
    assert len(said[name]) == SCENARIOS[name]["world"]
    for result in said[name]:
        assert {key: result.get(key) for key in ("hash", "samples", "singular")} == {
            key: alone[key] for key in ("hash", "samples", "singular")
        }


@pytest.mark.parametrize("name", ["1, loader worker", "2", "2, loader worker", "3", "4"])
def test_processes_give_the_receipt_of_one_process(said, name):
    alone = said["1"][0]
    assert alone["accuracy"] == 1
    for result in said[name]:
        assert {key: result.get(key) for key in ("commitment", "accuracy")} == {
            key: alone[key] for key in ("commitment", "accuracy")
        }
        assert result["processes"] == SCENARIOS[name]["world"]


def test_batches_of_a_loader_are_shared_out(said):
    results = said["loader"]
    assert results[0] == results[1]
    assert results[0]["samples"] == 75
    assert results[0]["singular"] == pytest.approx(said["1"][0]["singular"], rel=1e-5)


def test_no_batch_of_a_stream_is_lost(said):
    results = said["stream"]
    assert [result.get("samples") for result in results] == [75] * 3, results
    for kept in ("hash", "commitment"):
        assert {result[kept] for result in results} == {said["loader"][0][kept]}


def test_a_sample_that_stops_one_process_stops_all_with_its_reason(said):
    results = said["spoilt"]
    assert [result.get("error") for result in results] == ["DataError"] * 3, results
    assert all("NaN" in result["text"] for result in results)


@pytest.mark.parametrize("name", ["absent", "hung"])
def test_a_process_that_does_not_answer_ends_the_others_after_the_timeout(said, name):
    result = said[name][0]
    assert result.get("error") == "ResourceError", result
    assert "does not answer" in result["text"]


def test_other_settings_in_one_process_stop_all(said):
    assert [result.get("error") for result in said["other settings"]] == ["DataError"] * 3
    assert all("disagree on the settings" in result["text"] for result in said["other settings"])


@pytest.mark.parametrize("name", ["esc-t", "adaptive"])
def test_methods_of_one_process_say_so(said, name):
    assert [result.get("error") for result in said[name]] == ["UsageError"] * 2
    assert all("one process" in result["text"] for result in said[name])


def test_fewer_samples_than_processes_end_the_same_in_all(said):
    results = said["few samples"]
    assert not any("crash" in result for result in results), results
    assert len({(result.get("hash"), result.get("error")) for result in results}) == 1, results
