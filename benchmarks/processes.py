"""Statistics of a folder of JPEGs in one process and in two of torchrun.

    OMP_NUM_THREADS=1 python benchmarks/processes.py --json results/bench-processes.json

Both read the same bytes and must give the same statistics. `seconds` are of the clock, for the pass
and the statistics, without imports. `busiest` is the processor time of the process that took most
of it. `times` are medians over rounds of ratios within a round. Images and network are those of
`ray_passes.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics as numbers
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from ray_passes import written

from unspan import dist
from unspan.artifact.receipt import versions
from unspan.data.opening import open_data
from unspan.data.preprocess import Preprocess
from unspan.extraction import statistics
from unspan.run import Run
from unspan.system.digests import state_hash
from unspan.zoo import resnet20


def one(folder: Path) -> None:
    """Compute statistics, and print what they took and their hash."""
    torch.manual_seed(0)
    model = resnet20(10).eval()
    images = open_data(str(folder), transform=Preprocess(resize=64, crop=(64, 64)))["train"]
    with dist.session(120):
        dist.gather(None)  # all are there
        begun, spent = time.perf_counter(), time.process_time()
        found = statistics.of_model(model, images, Run())
        seconds = time.perf_counter() - begun
        busiest = max(dist.gather(time.process_time() - spent))
        if dist.rank() == 0:
            held = {"mean": found.mean, "covariance": found.covariance, "rows": found.rows}
            told = {"seconds": round(seconds, 2), "busiest": round(busiest, 2)}
            print("RESULT" + json.dumps([told, state_hash(held)]), flush=True)


def launched(processes: int, folder: Path) -> tuple[dict[str, float], str]:
    """Seconds, and the hash of the statistics."""
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    torchrun += ["--master-addr", "127.0.0.1", "--master-port", "29617"]
    command = [sys.executable, *(torchrun if processes > 1 else []), __file__, "--one", str(folder)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    line = next(text for text in printed.splitlines() if text.startswith("RESULT"))
    told, digest = json.loads(line.removeprefix("RESULT"))
    return told, digest


def main() -> None:
    """Measure, and keep the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, default=Path("results/bench-processes.json"))
    parser.add_argument("--images", type=int, default=2500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        one(args.one)
        return
    found = []
    with tempfile.TemporaryDirectory() as name:
        written(Path(name), args.images)
        for _ in range(args.rounds):
            load = round(os.getloadavg()[0], 2)
            alone, shared = (launched(count, Path(name)) for count in (1, 2))
            if alone[1] != shared[1]:
                raise SystemExit("The statistics differ.")
            found.append({"one": alone[0], "two": shared[0], "load": load})
            print(json.dumps(found[-1]), flush=True)
    times = {
        what: round(numbers.median(each["one"][what] / each["two"][what] for each in found), 3)
        for what in ("seconds", "busiest")
    }
    result = {"versions": versions(), "images": args.images, "rounds": found, "times": times}
    args.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps(times))


if __name__ == "__main__":
    main()
