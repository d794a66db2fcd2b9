"""Time and memory of `unspan apply` on Parquet, beside plain pyarrow that copies the same file.

    python benchmarks/apply.py --json results/bench-apply.json

The plain copy reads and writes in batches of as many rows, with the same compression and encodings.
Both run in turn in processes of their own, one thread each for torch and Arrow. Seconds are of the
processor; `times` is the median over rounds of the ratio within a round. Memory is what a process
grows by at most after its imports. Vectors are normal numbers of float32. The maps are a projection
of rank 8, and `resample` fitted on nine of ten clusters; a tenth of the vectors is of the request.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn
from torch.utils.data import TensorDataset

import unspan
from unspan.artifact.receipt import versions
from unspan.galleries.row_change import RowChange

SIZES = ((100_000, 512), (500_000, 512), (2_000_000, 512), (10_000_000, 64))


def clusters(dim: int) -> torch.Tensor:
    """Means of ten clusters."""
    return 2 * torch.randn(10, dim, generator=torch.Generator().manual_seed(1))


def deletion(kind: str, dim: int) -> unspan.Deletion:
    """A deletion of one of ten clusters in a small model whose features have so many numbers."""
    torch.manual_seed(0)
    labels = torch.arange(2000) % 10
    x = clusters(dim)[labels] + torch.randn(2000, dim)
    head = nn.Linear(dim, 10)
    descent = torch.optim.Adam(head.parameters(), lr=0.01)
    for _ in range(100):
        descent.zero_grad()
        nn.functional.cross_entropy(head(x), labels).backward()
        descent.step()
    model = nn.Sequential(nn.Identity(), head).eval()
    request = unspan.Request.by_class(TensorDataset(x, labels), 3)
    method = unspan.ESC(rank=8) if kind == "esc" else None
    return unspan.erase(model, request, method, max_drop=None, feature_layer="1")


def written(path: Path, rows: int, dim: int) -> None:
    """A Parquet file of vectors with an id each."""
    g = torch.Generator().manual_seed(0)
    centres = clusters(dim)
    schema = pa.schema([("id", pa.int64()), ("vector", pa.list_(pa.float32(), dim))])
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=["id"]) as out:
        for start in range(0, rows, 50_000):
            n = min(50_000, rows - start)
            labels = torch.arange(n) % 10
            flat = pa.array((centres[labels] + torch.randn(n, dim, generator=g)).numpy().ravel())
            ids = pa.array(range(start, start + n), pa.int64())
            vectors = pa.FixedSizeListArray.from_arrays(flat, dim)
            out.write_table(pa.table([ids, vectors], schema=schema))


def copied(source: Path, target: Path, dim: int) -> None:
    """Plain pyarrow: read in batches, write them as they are."""
    file = pq.ParquetFile(source)
    step = RowChange(nn.Identity(), dim).rows_at_a_time(4)  # type: ignore[arg-type]  # its size alone
    with pq.ParquetWriter(
        target, file.schema_arrow, compression="zstd", use_dictionary=["id"]
    ) as out:
        for batch in file.iter_batches(batch_size=step):
            out.write_batch(batch)


def one(what: str, folder: Path, dim: int) -> None:
    """Do one thing, and print its seconds and the memory of the process."""
    torch.set_num_threads(1)
    pa.set_cpu_count(1)
    before = kilobytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # VmHWM, the peak, starts anew
    begun = time.process_time()
    if what == "copy":
        copied(folder / "all.parquet", folder / "copy.parquet", dim)
    else:
        out = folder / f"{what}.parquet"
        out.unlink(missing_ok=True)
        Path(f"{out}.unspan-apply.json").unlink(missing_ok=True)
        unspan.apply(folder / what, folder / "all.parquet", out)
    spent = time.process_time() - begun
    print(json.dumps([spent, (kilobytes("VmHWM") - before) / 1000]))


def kilobytes(what: str) -> int:
    """What Linux says of the memory of this process."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(one.split()[1]) for one in lines if one.startswith(what))


def measured(what: str, folder: Path, dim: int) -> tuple[float, float]:
    """Seconds and megabytes of a process of its own."""
    command = [sys.executable, __file__, "--one", what, str(folder), str(dim)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    seconds, memory = json.loads(printed.splitlines()[-1])
    return seconds, memory


def row(rows: int, dim: int, rounds: int) -> dict[str, object]:
    """One size of gallery: every map beside the plain copy."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written(folder / "all.parquet", rows, dim)
        for kind in ("esc", "resample"):
            deletion(kind, dim).save(folder / kind)
        found = [
            {what: measured(what, folder, dim) for what in ("copy", "esc", "resample")}
            for _ in range(rounds)
        ]
    result: dict[str, object] = {"rows": rows, "dim": dim}
    for what in ("copy", "esc", "resample"):
        result[what] = {
            "seconds": statistics.median(each[what][0] for each in found),
            "megabytes": round(max(each[what][1] for each in found), 1),
            "times": round(statistics.median(each[what][0] / each["copy"][0] for each in found), 3),
        }
    return result


def main() -> None:
    """Measure every size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, default=Path("results/bench-apply.json"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(args.one[0], Path(args.one[1]), int(args.one[2]))
        return
    found = []
    for rows, dim in SIZES:
        found.append(row(rows, dim, args.rounds))
        print(json.dumps(found[-1]), flush=True)
        result = {"versions": versions(), "rounds": args.rounds, "sizes": found}
        args.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
