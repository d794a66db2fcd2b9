"""Time of an erasure and of its parts, in runs that alternate with bare forward passes."""

from __future__ import annotations

import statistics
import time
import warnings
from contextlib import contextmanager, suppress

import torch
from _models import BATCH, bare, scores
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

import unspan
from unspan import ESC, Run
from unspan.artifact import receipt
from unspan.data import loading
from unspan.erasers import linalg
from unspan.erasure import locating, opening, placing
from unspan.errors import InconclusiveError
from unspan.extraction import stream
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


def spent(times: dict, parts: list[dict[str, float]], job: str, n: int) -> dict:
    """What a job cost over a bare pass, and where.

    Args:
        times: wall and CPU seconds of every repeat, by job.
        parts: seconds of the parts of this job, by repeat.
        job: which.
        n: samples.
    """
    base = statistics.median(row[0] for row in times["bare"])
    ratios = [
        [a / b for a, b in zip(*pair, strict=True)]
        for pair in zip(times[job], times["bare"], strict=True)
    ]
    one = {name: statistics.median(row.get(name, 0.0) for row in parts) for name in parts[0]}
    fixed, each = (
        sum(one.get(name, 0.0) for name in {n for _, n in group}) for group in (FIXED, PER_SAMPLE)
    )
    train = one.get("_train", 0.0) + one.get("_finish", 0.0)
    best = [min(pair) for pair in zip(cpu(times["bare"]), cpu(times["best"]), strict=True)]
    over = [a - b for a, b in zip(cpu(times[job]), best, strict=True)]
    return {
        "over_best_ms": 1e3 * statistics.median(over) / n,
        "over_best_ratio": statistics.median(
            a / b for a, b in zip(cpu(times[job]), best, strict=True)
        ),
        "wall_ratio": statistics.median(row[0] for row in ratios),
        "ratios": ratios,
        "cpu_ratio": statistics.median(row[1] for row in ratios),
        "fixed_seconds": fixed,
        "per_sample_ms": 1e3 * each / n,
        "from_parts": 1 + (fixed + each + train) / base,
        "parts": dict(sorted(one.items(), key=lambda item: -item[1])),
    }


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
        out[job] = spent(times, parts[job], job, len(data))
    ours, train = out["esc_t"]["wall_ratio"], out["esc_t"]["parts"]["_train"] / base
    return out | {
        "padded_rows_share": -len(data) % BATCH / len(data),
        "published_epoch_in_passes": slow,
        "published_over_ours": (1 + slow * epochs) / ours,
        "published_over_ours_50_epochs": (1 + slow * 50) / (ours + train * (50 / epochs - 1)),
    }


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
