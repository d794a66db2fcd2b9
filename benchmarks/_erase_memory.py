"""Peak memory of an erasure beside that of one forward pass, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch
from _erase_timing import erase
from _models import BATCH, Lazy, bare, make
from torch.utils.data import Subset

from unspan import ESC


def child(name: str, what: str, count: int) -> None:
    """Peak resident memory of this process. VmHWM: `ru_maxrss` would start at the peak of the
    parent.
    """
    torch.set_num_threads(1)
    model, _, size, _ = make(name, small=True)
    data = Lazy(count, size)
    bare(model, Subset(data, range(2 * BATCH)))
    bare(model, data) if what == "bare" else erase(model, data, ESC())
    peak = next(
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    own = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    print(json.dumps({"peak": int(peak.split()[1]) * 1024, "model": own}))


def memory(name: str, dim: int, counts: list[int]) -> dict:
    out: dict = {"limit": (64 << 20) + 3 * 8 * dim * dim, "config": make(name, small=True)[3]}
    for count in counts:
        seen = {}
        for what in ("bare", "erase"):
            command = [
                sys.executable,
                str(Path(__file__).with_name("erase.py")),
                "--model",
                name,
                "--child",
                what,
                "--n",
                str(count),
            ]
            seen[what] = json.loads(
                subprocess.run(command, check=True, capture_output=True, text=True).stdout
            )
        extra = seen["erase"]["peak"] - seen["bare"]["peak"]
        out[str(count)] = {"extra": extra, "without_copy": extra - seen["erase"]["model"]}
    return out
