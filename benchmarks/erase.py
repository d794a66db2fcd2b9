"""Cost of an erasure against one bare forward pass: time, memory, latency, samples read.

All times are ratios of runs that alternate (A B C A B C ...), so that other load on the machine
hits all of them alike; `--threads 1`, the default, keeps a busy machine from dominating. Wall and
CPU time are both reported.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from _models import BATCH, CHECKPOINT, DATA, Lazy, bare, images, make, scores
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

import unspan
from unspan import ESC, Run
from unspan.artifact import receipt
from unspan.artifact.receipt import versions
from unspan.data import loading
from unspan.erasers import Resampler, linalg
from unspan.erasure import locating, opening, placing
from unspan.errors import InconclusiveError
from unspan.extraction import attach, find_feature_layer, stream
from unspan.extraction.statistics.computing import COVARIANCE_LIMIT
from unspan.methods import ESCT, esc, esc_t
from unspan.system import digests

FIXED = [
    (opening, "copied"),
    *((locating, name) for name in ("find_feature_layer", "unsteady", "data_notices")),
    *((placing, name) for name in ("install", "verify", "outcomes", "compare", "read")),
    (digests, "state_hash"),
    (receipt, "versions"),
    (receipt, "commitment"),
    (esc, "spectrum"),
    (esc_t, "spectrum"),
]
PER_SAMPLE = [
    (loading, "digest_of"),
    (linalg.Moments, "update"),
    (stream, "_check_finite"),
    (stream.ModelFeatures, "_note"),
]
OTHER = [(stream.ModelFeatures, "_features"), (ESCT, "_train"), (ESCT, "_finish")]


def erase(
    model: nn.Module, data, method, form: str = "projected", seed: int = 0
) -> unspan.Deletion:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return unspan.erase(
            model,
            data,
            method,
            Run(batch_size=BATCH, seed=seed),
            form=form,
            check_labels=False,
            measure=False,
        )


def seconds(function) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu


@contextmanager
def clocked(spent: dict[str, float]):
    """Add up the time of the parts of `erase`; a part inside another counts for the outer one
    only.
    """
    depth, saved = [0], []

    def wrap(function, label: str):
        def timed(*args, **kwargs):
            depth[0] += 1
            begun = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                depth[0] -= 1
                if depth[0] == 0:
                    spent[label] = spent.get(label, 0.0) + time.perf_counter() - begun

        return timed

    for owner, name in FIXED + PER_SAMPLE + OTHER:
        saved.append((owner, name, getattr(owner, name)))
        setattr(owner, name, wrap(saved[-1][2], name))
    try:
        yield
    finally:
        for owner, name, function in saved:
            setattr(owner, name, function)


def published_epoch(model: nn.Module, data) -> None:
    """One epoch as published: the mask's gradient by autograd through the whole network, then the
    stop test.
    """
    head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    mask = torch.ones(head.in_features, head.in_features, requires_grad=True)
    basis = torch.linalg.qr(torch.randn(head.in_features, head.in_features))[0]
    handle = head.register_forward_pre_hook(
        lambda _m, args: (args[0] @ (basis * mask) @ (basis * mask).mT,)
    )
    try:
        for x, y in DataLoader(data, batch_size=BATCH):
            out = model(x)
            logits = out if isinstance(out, torch.Tensor) else out.logits
            (-nn.functional.cross_entropy(logits, y)).backward()
            with torch.no_grad():
                mask.sub_(1e-3 * mask.grad).clamp_(0, 1)
            mask.grad = None
        for x, y in DataLoader(data, batch_size=BATCH):
            (scores(model, x).argmax(1) == y).sum()
    finally:
        handle.remove()
        model.zero_grad(set_to_none=True)


def head_alone(model: nn.Module, data) -> tuple[nn.Module, TensorDataset]:
    """The head as a model of its own, and the features as its data: what a method sees, without the
    backbone.
    """
    head, kept = [module for module in model.modules() if isinstance(module, nn.Linear)][-1], []
    handle = head.register_forward_pre_hook(lambda _m, args: kept.append(args[0].clone()))
    bare(model, data)
    handle.remove()
    return nn.Sequential(nn.Identity(), head), TensorDataset(torch.cat(kept), data.tensors[1])


def rate(model: nn.Module, data) -> float:
    """The default rate of ESC-T, or, where it changes nothing on these data, the smallest of its
    doublings that does.
    """
    small, features = head_alone(model, data)
    for lr in (1e-3 * 2.0**doubling for doubling in range(40)):
        with suppress(InconclusiveError):
            erase(small, features, ESCT(lr=lr))
            return lr
    raise SystemExit("ESC-T changes nothing on these data at any rate")


def cpu(rows: list[tuple[float, float]]) -> list[float]:
    """CPU seconds of what `seconds` gave."""
    return [row[1] for row in rows]


def timing(model: nn.Module, data, repeats: int) -> dict:
    method, part, last = ESCT(lr=rate(model, data)), Subset(data, range(min(len(data), 256))), []
    jobs = {
        "bare": lambda: bare(model, data),
        "best": lambda: bare(model, data, channels_last=True),
        "esc": lambda: erase(model, data, ESC()),
        "esc_t": lambda: last.append(erase(model, data, method)),
    }
    bare(model, part)
    times, parts = {name: [] for name in jobs}, {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            parts[name].append({})
            with clocked(parts[name][-1]):
                times[name].append(seconds(job))
    once, published = zip(
        *[
            (
                seconds(lambda: bare(model, part))[0],
                seconds(lambda: published_epoch(model, part))[0],
            )
            for _ in range(2)
        ],
        strict=True,
    )
    slow = statistics.median(published) / statistics.median(
        once
    )  # one published epoch, in bare passes
    base = statistics.median(row[0] for row in times["bare"])
    epochs = last[-1].receipt["method"]["fit"]["epochs"]
    out = {
        "n": len(data),
        "lr": method.lr,
        "repeats": repeats,
        "bare_seconds": base,
        "epochs": epochs,
    }
    for job in ("esc", "esc_t"):
        ratios = [
            [a / b for a, b in zip(*pair, strict=True)]
            for pair in zip(times[job], times["bare"], strict=True)
        ]
        one = {
            name: statistics.median(row.get(name, 0.0) for row in parts[job])
            for name in parts[job][0]
        }
        fixed, each = (
            sum(one.get(name, 0.0) for name in {n for _, n in group})
            for group in (FIXED, PER_SAMPLE)
        )
        train = one.get("_train", 0.0) + one.get("_finish", 0.0)
        best = [min(pair) for pair in zip(cpu(times["bare"]), cpu(times["best"]), strict=True)]
        over = [a - b for a, b in zip(cpu(times[job]), best, strict=True)]
        out[job] = {
            "over_best_ms": 1e3 * statistics.median(over) / len(data),
            "over_best_ratio": statistics.median(
                a / b for a, b in zip(cpu(times[job]), best, strict=True)
            ),
            "wall_ratio": statistics.median(row[0] for row in ratios),
            "ratios": ratios,
            "cpu_ratio": statistics.median(row[1] for row in ratios),
            "fixed_seconds": fixed,
            "per_sample_ms": 1e3 * each / len(data),
            "from_parts": 1 + (fixed + each + train) / base,
            "parts": dict(sorted(one.items(), key=lambda item: -item[1])),
        }
    ours, train = out["esc_t"]["wall_ratio"], out["esc_t"]["parts"]["_train"] / base
    return out | {
        "padded_rows_share": -len(data) % BATCH / len(data),
        "published_epoch_in_passes": slow,
        "published_over_ours": (1 + slow * epochs) / ours,
        "published_over_ours_50_epochs": (1 + slow * 50) / (ours + train * (50 / epochs - 1)),
    }


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
                __file__,
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


def resampled(model: nn.Module, x) -> nn.Module:
    """A copy that carries a resampler of ten classes with random numbers in it: its cost does not
    depend on them.
    """
    made = copy.deepcopy(model)
    feature_layer, _ = find_feature_layer(made, x, whole=True)
    random = torch.Generator().manual_seed(0)
    d, places = feature_layer.dim, max(9, min(72, COVARIANCE_LIMIT // feature_layer.dim**2))

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random) / d**0.5

    knots = torch.linspace(-2, 2, 21).expand(d, -1)
    rows = [drawn(count, d + 1) for count in (1, 9, places, 192)]
    attach(
        made,
        feature_layer,
        Resampler(
            *rows,
            drawn(4096, d),
            drawn(places, d, d),
            drawn(places, d),
            knots,
            knots.expand(places, -1, -1),
            drawn(places, d, d),
            drawn(places, d),
        ),
    )
    return made.eval()


def latency(model: nn.Module, data, budget: float) -> dict:
    part, out = Subset(data, range(2 * BATCH)), {}
    models = {
        form: erase(model, part, ESC(), form).model.eval() for form in ("projected", "folded")
    }
    models["resampled"] = resampled(model, data.tensors[0][:2])
    models |= {
        "original": copy.deepcopy(model),
        "again": copy.deepcopy(model),
    }  # copies, so that none shares a cache
    for key in ("original", "projected", "resampled"):
        models[f"{key}, channels last"] = copy.deepcopy(models[key]).to(
            memory_format=torch.channels_last
        )
    for batch in (1, BATCH):
        x, rows, begun = data.tensors[0][:batch], [], time.perf_counter()
        calls = range(max(1, 20 // batch))  # a service calls one model again and again
        while len(rows) < 5 or (len(rows) < 400 and time.perf_counter() - begun < budget):
            order = list(models) if len(rows) % 2 else list(models)[::-1]
            rows.append(
                {
                    key: seconds(
                        lambda key=key, x=x, calls=calls: [scores(models[key], x) for _ in calls]
                    )[0]
                    for key in order
                }
            )
        middle = {key: statistics.median(row[key] for row in rows) for key in models}
        out[str(batch)] = {key: value / middle["original"] for key, value in middle.items()} | {
            "rounds": len(rows)
        }
    return out


def adaptive(model: nn.Module, data) -> dict:
    small, features = head_alone(model, data)
    whole, rows = erase(small, features, ESC()).eraser.basis, []
    for seed in range(5):
        done = erase(small, features, ESC(adaptive=True), seed=seed)
        share = done.receipt["method"]["fit"]["samples"] / len(features)
        rows.append(
            {"seed": seed, "share": share, "sin_theta": linalg.sin_theta(whole, done.eraser.basis)}
        )
    return {
        "rows": rows,
        "share": max(r["share"] for r in rows),
        "sin_theta": max(r["sin_theta"] for r in rows),
    }


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
