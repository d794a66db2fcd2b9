"""A pass over a folder of JPEGs on one Ray worker and on two, and in one process.

    OMP_NUM_THREADS=1 python benchmarks/ray_passes.py --json results/bench-ray.json

Images of 384 pixels are decoded, cut to 64 and read by a ResNet-20 with random weights, one thread
a process. All runs of a round follow one another on one cluster, whose workers are warm. Features
are compared by their hash.

`seconds` are of the clock. `busiest` is the processor time of the process that took most of it: the
least that the pass can take where every process has a processor of its own. `times` are medians
over rounds of ratios within a round, of either. `load` is the load average when a round begins:
beyond the number of processors, other work decides what the clock says. `start` is the first pass,
which starts the cluster and imports torch in its workers.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from unspan import cluster
from unspan.artifact.receipt import versions
from unspan.data.opening import open_data
from unspan.data.passes import read_batches
from unspan.data.preprocess import Preprocess
from unspan.extraction import find_feature_layer
from unspan.extraction.model_reading import FeatureReading
from unspan.run import Engine, Run
from unspan.system.memory import keep_freed_memory
from unspan.zoo import resnet20

TICKS = os.sysconf("SC_CLK_TCK")
ONE, TWO = Run(engine=Engine.RAY, workers=1), Run(engine=Engine.RAY, workers=2)


def written(folder: Path, count: int) -> None:
    """Smooth random images of two classes."""
    draw = np.random.default_rng(0)
    for number in range(count):
        small = Image.fromarray(draw.integers(0, 256, (48, 48, 3), dtype=np.uint8))
        home = folder / "train" / f"class{number % 2}"
        home.mkdir(parents=True, exist_ok=True)
        small.resize((384, 384), Image.Resampling.BICUBIC).save(home / f"{number}.jpg", quality=90)


def processor_seconds() -> dict[int, float]:
    """Of this process and of all below it, by their numbers."""
    parents, spent = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended
            fields = stat.read_text("utf-8").rpartition(")")[2].split()
            parents[int(stat.parent.name)] = int(fields[1])
            spent[int(stat.parent.name)] = (int(fields[11]) + int(fields[12])) / TICKS
    own = {os.getpid()}
    while more := {one for one, parent in parents.items() if parent in own} - own:
        own |= more
    return {one: spent[one] for one in own}


def passed(folder: Path, run: Run) -> tuple[dict[str, float], str]:
    """Seconds of a pass, and the hash of its features."""
    torch.manual_seed(0)
    model = resnet20(10).eval()
    images = open_data(str(folder), transform=Preprocess(resize=64, crop=(64, 64)))["train"]
    total = hashlib.sha256()
    with torch.no_grad():
        layer, _ = find_feature_layer(model, torch.rand(2, 3, 32, 32))
        reading = FeatureReading(model, layer)
        before, begun = processor_seconds(), time.perf_counter()
        for part in read_batches(images, run, reading):
            total.update(part.found.numpy().tobytes())
        seconds = time.perf_counter() - begun
    spent = [now - before.get(one, 0) for one, now in processor_seconds().items()]
    return {"seconds": round(seconds, 2), "busiest": round(max(spent), 2)}, total.hexdigest()


def measured(folder: Path, rounds: int) -> dict[str, object]:
    """Every way in turn."""
    ways = {"process": Run(), "one": ONE, "two": TWO}
    found = []
    begun = time.perf_counter()
    with cluster.session(TWO):
        _, digest = passed(folder, TWO)
        start = round(time.perf_counter() - begun, 2)
        for _ in range(rounds):
            load = round(os.getloadavg()[0], 2)
            each = {name: passed(folder, run) for name, run in ways.items()}
            if {told for _, told in each.values()} != {digest}:
                raise SystemExit("The features differ.")
            found.append({name: took for name, (took, _) in each.items()} | {"load": load})
            print(json.dumps(found[-1]), flush=True)
    times = {
        what: {
            "two workers, of one": faster(found, "one", "two", what),
            "two workers, of one process": faster(found, "process", "two", what),
        }
        for what in ("seconds", "busiest")
    }
    return {"rounds": found, "start": start, "times": times}


def faster(found: list[dict[str, Any]], slow: str, fast: str, what: str) -> float:
    """How many times, within a round."""
    return round(statistics.median(one[slow][what] / one[fast][what] for one in found), 3)


def main() -> None:
    """Measure, and keep the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, default=Path("results/bench-ray.json"))
    parser.add_argument("--images", type=int, default=2500)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as the command and the workers do
    with tempfile.TemporaryDirectory() as name:
        written(Path(name), args.images)
        found = measured(Path(name), args.rounds)
    about = {"images": args.images, "model": "resnet20", "processors": os.cpu_count()}
    result = {"versions": versions(), **about, **found}
    print(json.dumps(found["times"]))
    args.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
