"""Seconds and memory of the fits, by width of the features, rows, classes and people.

    python benchmarks/scale.py                      # goes on where it stopped
    python benchmarks/scale.py --only esc --seconds 300

Every row is a process of its own with one thread. Features are drawn in batches while they are
read; the time of drawing is taken off. Seconds are of the processor. Memory is the largest resident
size of the process, less that after the imports and one small fit. n counts forget and retained
samples together; of `redraw` 50 samples are one person's. `refused` asks for a fit under a limit of
memory. `gallery` searches for 5,000 embeddings among people with two enrolled ones each, and maps
one vector a person with `unspan apply`, half of the ids to be dropped.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import unspan
from unspan.artifact.receipt import versions
from unspan.errors import ResourceError
from unspan.extraction.stream import FeatureStream
from unspan.methods import ESC, LEACE, EraserMethod, FitContext, Redraw, Resample
from unspan.metrics.identification import nearest_means, nearest_samples
from unspan.metrics.outputs import Outputs

METHODS: dict[str, EraserMethod] = {
    "esc": ESC(),
    "leace": LEACE(),
    "resample": Resample(),
    "redraw": Redraw(),
}
BATCH = 256
PERSON = 50  # samples of the person that redraw erases
LIMIT = 10  # GiB of address space, for what is refused
SEARCHES = 5_000
FULL = (
    100  # classes with which the number of clusters of `resample` does not grow with n at d = 512
)

Cell = dict[str, Any]


def fit_cell(kind: str, method: str, dim: int, n: int, classes: int = 10) -> Cell:
    return {"kind": kind, "method": method, "dim": dim, "n": n, "classes": classes}


CELLS: list[Cell] = [
    *(
        fit_cell("rows", name, 512, n, FULL if name == "resample" else 10)
        for name in METHODS
        for n in (6_000, 12_000, 24_000, 48_000)
    ),
    *(fit_cell("width", name, dim, 4_000) for dim in (512, 2048) for name in METHODS),
    *(fit_cell("width", "esc", dim, dim * 5 // 4) for dim in (512, 2048)),
    *(
        fit_cell("classes", name, 512, 48_000, classes)
        for name in ("resample", "redraw")
        for classes in (10, 100, 1_000)
    ),
    fit_cell("classes", "redraw", 512, 48_000, 20_000),
    *({"kind": "gallery", "dim": 512, "people": count} for count in (1_000, 10_000, 100_000)),
    *(
        {"kind": "refused", "method": name, "dim": 16_384}
        for name in ("leace", "resample", "redraw")
    ),
    fit_cell("width", "esc", 8192, 4_000),
    fit_cell("width", "esc", 16_384, 4_000),
    *(fit_cell("width", name, 8192, 4_000) for name in ("leace", "redraw", "resample")),
    fit_cell("width", "esc", 8192, 10_240),
]


class Drawn(FeatureStream):
    """Normal features around centres, drawn while they are read.

    Attributes:
        spent: seconds that the drawing took.
    """

    def __init__(self, labels: Tensor, centres: Tensor, seed: int):
        self.dim = centres.shape[1]
        self.total = len(labels)
        self.spent = 0.0
        self._labels, self._centres, self._seed = labels, centres, seed
        self._digests = bytearray()

    @property
    def digests(self) -> bytearray:
        """sha256 of the number of every sample that was read so far."""
        return self._digests

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        draw = torch.Generator().manual_seed(self._seed)
        for labels in self._labels.split(BATCH):
            begun = time.process_time()
            z = self._centres[labels] + torch.randn(len(labels), self.dim, generator=draw)
            for number in range(self.samples_read, self.samples_read + len(labels)):
                self._digests += sha256(f"{self._seed} {number}".encode()).digest()
            self.spent += time.process_time() - begun
            yield z, labels


def context_of(cell: Cell) -> FitContext:
    """Class 0 is to be forgotten: a fifth of the samples, one of the classes, or a person."""
    dim, n, classes, method = cell["dim"], cell["n"], cell["classes"], cell["method"]
    centres = 3 * torch.randn(classes, dim, generator=torch.Generator().manual_seed(0)) / dim**0.25
    gone = PERSON if method == "redraw" else n // 5
    if method == "esc":
        gone = n
    forget = Drawn(torch.zeros(gone, dtype=torch.int64), centres, 1)
    kept = torch.arange(n - gone) % (classes - 1) + 1
    retain = Drawn(kept, centres, 2) if n > gone else None
    head = None
    if method == "resample":
        wide = centres.double()
        head = wide, -wide.square().sum(1) / 2
    return FitContext(
        forget=forget,
        retain=retain,
        head=head,
        classes=(0,) if method == "resample" else (),
        key=b"a key of this benchmark",
    )


def fit(cell: Cell) -> dict[str, Any]:
    """Seconds of one fit, without the drawing of its features."""
    context = context_of(cell)
    method = METHODS[cell["method"]]
    method.check(cell["dim"])
    begun = time.process_time()
    found = method.fit(context)
    seconds = time.process_time() - begun
    for stream in (context.forget, context.retain):
        seconds -= stream.spent if isinstance(stream, Drawn) else 0.0
    clusters = found.report.get("clusters")
    return {"seconds": round(seconds, 3)} | ({} if clusters is None else {"clusters": clusters})


def refused(cell: Cell) -> dict[str, Any]:
    """What a fit says that does not fit into the memory, and how long it takes to say so."""
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT * 2**30, resource.RLIM_INFINITY))
    begun = time.process_time()
    try:
        METHODS[cell["method"]].check(cell["dim"])
    except ResourceError as error:
        seconds = time.process_time() - begun
        return {"limit_gib": LIMIT, "seconds": round(seconds, 3), "says": str(error)}
    raise AssertionError(f"{cell['method']} was not refused")


def gallery(cell: Cell) -> dict[str, Any]:
    """Seconds of searches by nearest means and samples, and of `unspan apply`."""
    people, dim = cell["people"], cell["dim"]
    draw = torch.Generator().manual_seed(0)
    centres = torch.randn(people, dim, generator=draw)
    labels = torch.arange(people).repeat(2)
    enrolled = centres.repeat(2, 1).add_(0.5 * torch.randn(2 * people, dim, generator=draw))
    asked = torch.randint(people, (SEARCHES,), generator=draw)
    searched = centres[asked] + 0.5 * torch.randn(SEARCHES, dim, generator=draw)
    fit_part = Outputs(features=enrolled, logits=None, labels=labels, forget=labels == 0)
    test_part = Outputs(features=searched, logits=None, labels=asked, forget=asked == 0)
    result: dict[str, Any] = {}
    for name, search in (("nearest_means", nearest_means), ("nearest_samples", nearest_samples)):
        begun = time.process_time()
        read = search(fit_part, test_part)
        result[name] = {
            "seconds": round(time.process_time() - begun, 3),
            "right": float((read == asked).double().mean()),
        }
    with tempfile.TemporaryDirectory() as folder:
        result["apply"] = _applied(Path(folder), enrolled[:people], people)
    return result


def _applied(folder: Path, vectors: Tensor, people: int) -> dict[str, Any]:
    """Seconds of `unspan apply` with the map of `redraw`; every other row is dropped by its id."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    dim = vectors.shape[1]
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.flatten().numpy()), dim)
    table = pa.table({"id": pa.array([f"p{number}" for number in range(people)]), "vector": flat})
    pq.write_table(table, folder / "gallery.parquet")
    draw = torch.Generator().manual_seed(3)
    own = vectors[:1] + 0.3 * torch.randn(20, dim, generator=draw)
    others = vectors[1:].repeat(2, 1)[:2_000]
    request = unspan.Request(
        forget=TensorDataset(own, torch.zeros(20, dtype=torch.int64)),
        retain=TensorDataset(others, torch.arange(len(others)) % 500 + 1),
    )
    method = replace(METHODS["redraw"], false_positives=0.01)
    model = nn.Sequential(nn.Identity())
    done = unspan.erase(model, request, method, feature_layer="output", measure=False)
    done.save(folder / "erased", allow_identifying_projector=True)
    begun = time.process_time()
    ids = [f"p{number}" for number in range(0, people, 2)]
    source, target = folder / "gallery.parquet", folder / "out.parquet"
    unspan.apply(folder / "erased", source, target, id_column="id", forget_ids=ids, rows="drop")
    seconds = time.process_time() - begun
    assert pq.ParquetFile(target).metadata.num_rows == people - len(ids)
    return {"seconds": round(seconds, 3), "dropped": len(ids)}


def one(cell: Cell) -> None:
    """Do one cell in this process, and print what it took."""
    torch.set_num_threads(1)
    method = cell.get("method", "redraw")
    fit(fit_cell("warm", method, 8, 2_000, 10))
    base = _peak()
    work = {"gallery": gallery, "refused": refused}.get(cell["kind"], fit)
    found = work(cell)
    print(json.dumps(found | {"megabytes": round((_peak() - base) / 1024, 1)}))


def _peak() -> int:
    """Largest resident size of this process in KiB; `ru_maxrss` would start at the parent's."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def slopes(rows: list[Cell]) -> dict[str, Any]:
    """For each method a line through its seconds by rows, and its largest gap, as a share."""
    found = {}
    for name in METHODS:
        own = [row for row in rows if row["kind"] == "rows" and row["method"] == name]
        if len(own) < 3:
            continue
        n = torch.tensor([row["n"] for row in own], dtype=torch.float64)
        seconds = torch.tensor([row["seconds"] for row in own], dtype=torch.float64)
        columns = torch.stack([torch.ones_like(n), n], 1) / seconds[:, None]
        line = torch.linalg.lstsq(columns, torch.ones(len(n), 1, dtype=torch.float64)).solution
        gap = (columns @ line - 1).abs().max()
        found[name] = {
            "fixed_seconds": round(float(line[0]), 4),
            "microseconds_a_row": round(1e6 * float(line[1]), 3),
            "largest_gap": round(float(gap), 4),
        }
    return found


def measured(cell: Cell, most: float | None) -> dict[str, Any] | None:
    """What a cell took, in a process of its own; None where it took too long."""
    command = [sys.executable, __file__, "--one", json.dumps(cell)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=most)
    except subprocess.TimeoutExpired:
        return None
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Measure what is not in the file yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, default=Path("results/bench-scale.json"))
    parser.add_argument("--only", help="kind or method")
    parser.add_argument("--seconds", type=float, help="leave out cells that take longer")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(json.loads(args.one))
        return
    rows = json.loads(args.json.read_text("utf-8"))["rows"] if args.json.is_file() else []
    for cell in CELLS:
        known = any(cell.items() <= row.items() for row in rows)
        if known or (args.only and args.only not in (cell["kind"], cell.get("method"))):
            continue
        found = measured(cell, args.seconds)
        print(json.dumps(cell | (found or {"seconds": f"more than {args.seconds}"})), flush=True)
        if found is None:
            continue
        rows.append(cell | found)
        result = {"versions": versions(), "threads": 1, "linear": slopes(rows), "rows": rows}
        args.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
