"""Several processes give the model that one process gives, bit for bit, or all of them stop with
the reason.
"""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.timeout(120)

# name -> number of processes and settings; all run in one interpreter that forks the processes as
# torchrun would
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
}

LAUNCHER = """
import json, multiprocessing, os, socket, sys, traceback, warnings
warnings.simplefilter("ignore")
import torch
from torch import nn
import unspan, unspan.erasure.pipeline, torch.distributed
import scipy.stats, torch._dynamo  # imported on first use: once here, not in every process

torch.set_num_threads(1)  # no thread pool before the fork


def work(settings, rank, port, pipe):
    world = settings["world"]
    if world > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 4)
        )
        x = torch.randn(settings.get("samples", 75), 8)
        data = torch.utils.data.TensorDataset(x, model(x).argmax(1))
        if settings.get("loader"):
            data = torch.utils.data.DataLoader(data, batch_size=8)
        ranks = settings.get("ranks", [2])
        esc = unspan.ESC(rank=ranks[rank % len(ranks)], adaptive=settings.get("adaptive", False))
        method = unspan.methods.ESCT() if settings.get("method") == "esc-t" else esc
        run = unspan.Run(batch_size=8, workers=settings.get("workers", 0), timeout=10)
        done = unspan.erase(model, data, method, run, check_labels=False, key=b"k" * 32)
        account = done.receipt
        pipe.send({
            "hash": account["model"]["sha256_after"],
            "samples": account["method"]["fit"]["samples"],
            "commitment": account["request"]["commitment"],
            "accuracy": account["forget_accuracy_before"],
            "singular": account["method"]["fit"]["singular_values"],
            "processes": account["run"]["processes"],
        })
    except unspan.UnspanError as error:
        pipe.send({"error": type(error).__name__, "text": str(error)})
    except BaseException as error:
        trace = traceback.format_exc()[-600:]
        pipe.send({"crash": f"{type(error).__name__}: {error}", "trace": trace})


def launch(settings):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context, started = multiprocessing.get_context("fork"), []
    for rank in range(settings["world"]):
        pipe, end = context.Pipe(False)
        process = context.Process(target=work, args=(settings, rank, port, end))
        process.start()
        started.append((process, pipe))
    said = []
    for process, pipe in started:
        said.append(pipe.recv() if pipe.poll(20) else {"crash": "silent for 20 s"})
    for process, _ in started:
        process.join(5)
        if process.is_alive():
            process.kill()
    return said


asked = json.loads(sys.argv[1])
print("RESULT" + json.dumps({name: launch(settings) for name, settings in asked.items()}))
"""


@pytest.fixture(scope="module")
def said():
    """What each process of every scenario reported, in rank order."""
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHER, json.dumps(SCENARIOS)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    assert lines, done.stderr[-2000:]
    return json.loads(lines[-1].removeprefix("RESULT"))


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
