"""Time and memory of a whole default audit when the outputs of the models are cached already.

A network of two layers on 60,000 rows (50,000 to learn from, 10,000 to be judged on) of overlapping
Gaussian classes, erased by ESC, against a network with random weights: so the forward passes that
an audit repeats (layer sweep, noise, ZRF) cost little, and what is timed are the attacks. The first
audit fills the cache, the second is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import TensorDataset

import unspan
from unspan.artifact.receipt import versions
from unspan.run import Run

CLASSES, FORGET, FIT, TEST = 10, 4, 50_000, 10_000


def rows(n: int, d: int, seed: int) -> TensorDataset:
    """Overlapping Gaussian classes."""
    centres = 0.25 * torch.randn(CLASSES, d, generator=torch.Generator().manual_seed(0))
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(CLASSES, (n,), generator=g)
    return TensorDataset(torch.randn(n, d, generator=g) + centres[y], y)


def trained(d: int, data: TensorDataset, steps: int = 300) -> nn.Module:
    """A network of two layers, trained for a few steps."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, CLASSES))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    x, y = data.tensors
    for step in range(steps):
        at = slice(step * 128 % FIT, step * 128 % FIT + 128)
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x[at]), y[at]).backward()
        optimiser.step()
    return model.eval()


class Memory(threading.Thread):
    """The largest anonymous memory of this process in each stage, in MiB, sampled every 20 ms."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peaks: dict[str, float] = {}
        self.stage, self.going = "start", True

    @staticmethod
    def now() -> float:
        text = Path("/proc/self/status").read_text("ascii")
        return int(text.split("RssAnon:")[1].split()[0]) / 1024

    def run(self) -> None:
        while self.going:
            self.peaks[self.stage] = max(self.peaks.get(self.stage, 0.0), self.now())
            time.sleep(0.02)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--d", type=int, default=96, help="width of the features")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--cold",
        action="store_true",
        help="time the first audit, which fills the cache (here that costs a few seconds)",
    )
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    fit, test = rows(FIT, args.d, 1), rows(TEST, args.d, 2)
    model = trained(args.d, fit)
    data = unspan.Request.by_class(fit, FORGET).with_test(test)
    erased = unspan.erase(model, data, unspan.ESC(rank=1))
    stages: list[tuple[float, str]] = []
    with tempfile.TemporaryDirectory() as cache:
        run = Run(batch_size=256)
        if not args.cold:
            unspan.audit(model, erased, data, run, cache=Path(cache))
        watch, base = Memory(), Memory.now()
        watch.start()
        begun, cpu = time.perf_counter(), time.process_time()

        def report(stage: str, done: int, total: int | None) -> None:
            watch.stage = stage
            stages.append((time.perf_counter() - begun, stage))

        run = Run(batch_size=256, progress=report)
        verdict = unspan.audit(model, erased, data, run, cache=Path(cache)).verdict
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
        watch.going = False
    spent: dict[str, float] = {}
    for (at, stage), after in zip(stages, [*(at for at, _ in stages[1:]), seconds], strict=True):
        spent[stage] = round(spent.get(stage, 0.0) + after - at, 1)
    result = {
        "rows": FIT + TEST,
        "d": args.d,
        "verdict": verdict,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "memory_mib": round(max(watch.peaks.values()) - base, 1),
        "memory_by_stage": {stage: round(peak - base, 1) for stage, peak in watch.peaks.items()},
        "features_mib": round((FIT + TEST) * args.d * 4 / 2**20, 1),
        "stages": dict(sorted(spent.items(), key=lambda one: -one[1])),
        "threads": args.threads,
        "cores": os.cpu_count(),
        "command": " ".join(["python", "benchmarks/audit_whole.py", *sys.argv[1:]]),
        "versions": versions(),
    }
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
