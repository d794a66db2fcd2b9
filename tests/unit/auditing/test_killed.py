"""An audit that is killed loses at most a block of outputs of each model."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from unspan.zoo import DigitsCNN

ROOT = Path(__file__).resolve().parents[3]
BLOCK, BATCH = 128, 32
ROWS, MODELS = 1797, 3  # samples of both splits; the original, the erased one, random weights
# The audit as started by hand. It kills itself at the given step, as `kill -9` would, and ends
# once all outputs are there. Every row that a model computes is counted in a file.
CHILD = f"""
    import os, signal, sys
    from pathlib import Path
    from unspan.auditing import audit, partial, readers

    step, at, counted, *command = sys.argv[1:]
    partial.BLOCK = {BLOCK}
    left = int(at)

    def killing(function):
        def called(*given, **named):
            global left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*given, **named)
        return called

    def counting(subjects, batch, together, read=readers.OUTPUTS.read):
        with open(counted, "a") as file:
            file.write(f"{{len(batch) * len(subjects)}}\\n")
        return read(subjects, batch, together)

    object.__setattr__(readers.OUTPUTS, "read", counting)
    if step == "write":
        partial.Partial.write = killing(partial.Partial.write)
    elif step == "unlink":
        Path.unlink = killing(Path.unlink)
    elif step != "none":
        setattr(partial.os, step, killing(getattr(os, step)))
    audit.measure = lambda case: os._exit(0)
    from unspan.cli import main
    sys.argv = ["unspan", *command]
    main()
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    found = []
    for seed in (10, 11):
        torch.manual_seed(seed)
        found.append(folder / f"{seed}.safetensors")
        save_file(DigitsCNN().state_dict(), found[-1])
    return found


def audited(folder, weights, step="none", at=0):
    """End of the process, rows that it computed, and the cache."""
    counted, cache = folder / "counted", folder / "cache"
    counted.write_text("")
    given = ["audit", "python:examples.digits:model", str(weights[1])]
    given += ["--weights", str(weights[0]), "--data", "python:examples.digits:data"]
    given += ["--forget", "3", "--out", str(folder / "out"), "--cache", str(cache)]
    given += ["--batch-size", str(BATCH)]
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD), step, str(at), str(counted), *given],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode, sum(map(int, counted.read_text().split())), cache


def finished(cache):
    """Outputs in the cache by file."""
    return {
        f"{entry.parent.name}/{entry.name}": np.load(entry) for entry in cache.glob("[!.]*/*.npy")
    }


def test_a_killed_audit_goes_on_with_the_block_it_was_in(weights, tmp_path):
    (tmp_path / "plain").mkdir()
    code, rows, cache = audited(tmp_path / "plain", weights)
    assert (code, rows) == (0, MODELS * ROWS)
    killed = tmp_path / "killed"
    killed.mkdir()
    # in the middle of a pass; between two models that are finished; when a folder has just moved
    points = [("write", 41), ("rename", 2), ("unlink", 1)]
    total = 0
    for step, at in points:
        code, rows, _ = audited(killed, weights, step, at)
        assert code == -signal.SIGKILL, (step, at)
        total += rows
    code, rows, again = audited(killed, weights)
    total += rows
    assert code == 0
    assert total <= MODELS * (ROWS + len(points) * (BLOCK + BATCH))
    want, got = finished(cache), finished(again)
    assert len(got) >= 4 * 4 * MODELS  # both parts, plain and over views
    assert got.keys() <= want.keys()  # earlier layers are read later, where a pass was cut short
    assert all(np.array_equal(want[name], got[name]) for name in got)
