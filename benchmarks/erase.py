"""Cost of an erasure against one bare forward pass: time, memory, latency, samples read.

All times are ratios of runs that alternate (A B C A B C ...), so that other load on the machine
hits all of them alike; `--threads 1`, the default, keeps a busy machine from dominating. Wall and
CPU time are both reported.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import torch
from _erase_latency import latency
from _erase_memory import child, memory
from _erase_timing import adaptive, timing
from _models import BATCH, CHECKPOINT, DATA, images, make
from torch import nn

from unspan.artifact.receipt import versions


def report(
    name: str, dim: int, model: nn.Module, data, args: argparse.Namespace
) -> tuple[dict, list[dict]]:
    result, rows = {} if args.latency else {"timing": timing(model, data, args.repeats)}, []

    def row(metric: str, value: float, target: float | None = None, least: bool = False) -> None:
        met = None if target is None else value >= target if least else value <= target
        rows.append({"metric": metric, "value": value, "target": target, "met": met})
        goal, verdict = (
            "" if target is None else f"{target:.5g}",
            {None: "", True: "yes", False: "NO"}[met],
        )
        print(f"{metric:52} {value:>12.4g} {goal:>10} {verdict}", flush=True)

    result["latency"] = latency(model, data, args.budget)
    for batch, found in result["latency"].items():
        for form, target in (
            ("projected", 1.02),
            ("folded", 1.00),
            ("resampled", 1.05),
            ("again", None),
        ):
            row(f"latency {form} / original, batch {batch}", found[form], target)
        usual = found["original, channels last"]
        for form in ("projected", "resampled"):
            other = found[f"{form}, channels last"] / usual
            row(f"latency {form} / original, channels last, batch {batch}", other)
    if args.latency:
        return result, rows
    t = result["timing"]
    for key, title, target in (("esc", "ESC", 1.05), ("esc_t", "ESC-T", 1.15)):
        for what, goal in (("wall_ratio", target), ("cpu_ratio", target), ("from_parts", target)):
            row(f"{title} / bare pass, {what}", t[key][what], goal)
        row(f"{title}, over the best bare pass, ms an image", t[key]["over_best_ms"], 0.05)
        row(f"{title} / best bare pass, cpu_ratio", t[key]["over_best_ratio"])
        row(f"{title} fixed part, s", t[key]["fixed_seconds"])
        row(f"{title} per-sample part, ms", t[key]["per_sample_ms"])
    title = f"published / ESC-T, {t['epochs']} epochs (1 measured, scaled), lr {t['lr']:g}"
    row(title, t["published_over_ours"], 20, True)
    row("published / ESC-T, had it run 50 epochs", t["published_over_ours_50_epochs"])
    if name == "allcnn" and CHECKPOINT.exists() and DATA.exists():
        result["adaptive"] = adaptive(model, data)
        row("adaptive: share read, worst of 5 seeds", result["adaptive"]["share"], 0.3)
        row("adaptive: sin theta, worst of 5 seeds", result["adaptive"]["sin_theta"], 0.05)
    result["memory"] = memory(name, dim, args.memory)
    for count in map(str, args.memory):
        extra, limit = (
            result["memory"][count]["without_copy"] / 2**20,
            result["memory"]["limit"] / 2**20,
        )
        row(f"extra memory without the copy, {count} samples, MiB", extra, limit)
    return result, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=["allcnn", "resnet18", "vit"], default="allcnn")
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--budget", type=float, default=8.0, help="seconds per latency comparison")
    parser.add_argument(
        "--memory",
        type=int,
        nargs="*",
        default=[1000, 100000],
        help="sample counts of the memory test",
    )
    parser.add_argument("--latency", action="store_true", help="only latency")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", choices=["bare", "erase"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(args.model, args.child, args.n)
    torch.set_num_threads(args.threads)
    model, dim, size, config = make(args.model)
    data, source = images(model, args.model, args.n, size)
    cores = f"{args.threads} thread(s) of {os.cpu_count()} cores"
    print(
        f"{config}; {source}; n={len(data)}, batch {BATCH}, {cores}\n{'metric':52} {'value':>12}"
        f" {'target':>10} met"
    )
    result, rows = report(args.model, dim, model, data, args)
    if args.json:
        result |= {
            "rows": rows,
            "config": config,
            "data": source,
            "versions": versions(),
            "cores": os.cpu_count(),
        }
        result |= {
            "threads": args.threads,
            "command": " ".join(["python", "benchmarks/erase.py", *sys.argv[1:]]),
        }
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
