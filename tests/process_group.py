"""Processes that join one group as torchrun would start them, forked from an interpreter that has
imported everything once.

A test file holds a function `work(settings, rank)` that each process calls, and asks for `results`.
"""

import importlib.util
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time
import traceback
import warnings
from pathlib import Path

SILENT = 40  # seconds after which a process is taken for hung
STOPPED = "T"  # state of a process that waits for SIGCONT


def results(file, scenarios, timeout=270):
    """What `work` of a test file returned or raised, for each scenario and process in rank order.

    Args:
        file: path of the test file.
        scenarios: settings by name, JSON values; `world` is the number of processes.
        timeout: seconds for all of them.
    """
    done = subprocess.run(
        [sys.executable, __file__, str(file), json.dumps(scenarios)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    assert lines, done.stderr[-2000:]
    return json.loads(lines[-1].removeprefix("RESULT"))


def free_port():
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _process(work, settings, rank, port, pipe):
    world = settings["world"]
    if world > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    from unspan.errors import UnspanError

    try:
        pipe.send(work(settings, rank))
    except UnspanError as error:
        pipe.send({"error": type(error).__name__, "text": str(error)})
    except BaseException as error:
        trace = traceback.format_exc()[-600:]
        pipe.send({"crash": f"{type(error).__name__}: {error}", "trace": trace})


def _launched(work, settings):
    context, port, started = multiprocessing.get_context("fork"), free_port(), []
    for rank in range(settings["world"]):
        pipe, end = context.Pipe(False)
        process = context.Process(target=_process, args=(work, settings, rank, port, end))
        process.start()
        end.close()
        started.append((process, pipe))
    said = [_said(process, pipe) for process, pipe in started]
    for process, _ in started:
        process.join(5)
        if process.is_alive():
            process.kill()
    return said


def _said(process, pipe):
    """What a process reported; one that is stopped says nothing, and is killed later."""
    deadline = time.monotonic() + SILENT
    while not pipe.poll(0.2):
        if _state(process.pid) == STOPPED:
            return {"stopped": True}
        if time.monotonic() > deadline:
            return {"crash": f"silent for {SILENT} s"}
    try:
        return pipe.recv()
    except EOFError:
        return {"died": True}


def _state(pid):
    """The state of a process as the system names it, empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def _main():
    warnings.simplefilter("ignore")
    import scipy.stats  # noqa: F401 - imported on first use: once here, not in every process
    import torch._dynamo
    import torch.distributed

    import unspan.erasure.pipeline  # noqa: F401

    torch.set_num_threads(1)  # no thread pool before the fork
    file, scenarios = sys.argv[1:]
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = {name: _launched(module.work, one) for name, one in json.loads(scenarios).items()}
    print("RESULT" + json.dumps(found))


if __name__ == "__main__":
    _main()
