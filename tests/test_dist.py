"""Several processes give the model that one process gives, bit for bit, or all of them stop with the reason."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.timeout(120)

WORKER = """
import json, sys, warnings
warnings.simplefilter("ignore")
import torch
from torch import nn
import unspan
from unspan.receipt import state_hash
from unspan.run import Run

settings = json.loads(sys.argv[1])
rank = int(__import__("os").environ.get("RANK", "0"))
torch.set_num_threads(1)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 4))
x = torch.randn(settings["samples"], 8)
y = model(x).argmax(1)
data = torch.utils.data.TensorDataset(x, y)
if settings.get("loader"):
    data = torch.utils.data.DataLoader(data, batch_size=8)
method = {"esc": unspan.ESC, "esc-t": unspan.ESCT}[settings.get("method", "esc")]
ranks = settings.get("ranks", [2])
options = {"rank": ranks[rank % len(ranks)]} if method is unspan.ESC else {}
try:
    done = unspan.erase(
        model, data, method(adaptive=settings.get("adaptive", False), **options) if method is unspan.ESC else method(),
        Run(batch_size=8, workers=settings.get("workers", 0), timeout=10), check_labels=False, key=b"k" * 32)
    out = {
        "hash": state_hash(done.model.state_dict()), "samples": done.receipt["method"]["fit"]["samples"],
        "commitment": done.receipt["request"]["commitment"], "processes": done.receipt["run"]["processes"],
        "singular": done.receipt["method"]["fit"]["singular_values"],
    }
except unspan.UnspanError as error:
    out = {"error": type(error).__name__, "text": str(error)}
print("RESULT" + json.dumps(out), flush=True)
"""


def start(world, **settings):
    """Launch the processes as torchrun would; `collect` gives what each said, in rank order."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = json.dumps({"samples": 75} | settings)
    processes = []
    for rank in range(world):
        env = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
            env.pop(name, None)
        if world > 1:
            env |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        processes.append(subprocess.Popen([sys.executable, "-c", WORKER, given], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    return processes


def collect(processes, timeout=60):
    deadline = time.monotonic() + timeout
    try:
        said = [process.communicate(timeout=max(1.0, deadline - time.monotonic())) for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
    found = []
    for out, err in said:
        lines = [line for line in out.splitlines() if line.startswith("RESULT")]
        assert lines, err[-2000:]
        found.append(json.loads(lines[-1].removeprefix("RESULT")))
    return found


def launch(world, **settings):
    return collect(start(world, **settings))


@pytest.fixture(scope="module")
def alone():
    return launch(1)[0]


@pytest.mark.parametrize(("world", "workers"), [(2, 0), (2, 1), (3, 0), (4, 0)])
def test_processes_give_the_model_of_one_process(alone, world, workers):
    results = launch(world, workers=workers)
    assert alone["processes"] == 1
    for result in results:
        assert result | {"processes": 1} == alone
        assert result["processes"] == world
    assert alone["samples"] == 75


def test_a_loader_worker_gives_the_same_model(alone):
    assert launch(1, workers=1)[0] == alone


def test_batches_of_a_loader_are_shared_out(alone):
    result = launch(2, loader=True)
    assert result[0] == result[1]
    assert result[0]["samples"] == 75
    assert result[0]["singular"] == pytest.approx(alone["singular"], rel=1e-5)


def test_other_settings_in_one_process_stop_all():
    results = launch(3, ranks=[2, 2, 3])
    assert [result.get("error") for result in results] == ["DataError"] * 3
    assert all("disagree on the settings" in result["text"] for result in results)


@pytest.mark.parametrize("settings", [{"method": "esc-t"}, {"adaptive": True}])
def test_methods_of_one_process_say_so(settings):
    results = launch(2, **settings)
    assert [result.get("error") for result in results] == ["UsageError"] * 2
    assert all("one process" in result["text"] or "without torchrun" in result["text"] for result in results)


def test_fewer_samples_than_processes_end_the_same_in_all():
    results = launch(4, samples=3)
    outcomes = {(result.get("hash"), result.get("error")) for result in results}
    assert len(outcomes) == 1, results
