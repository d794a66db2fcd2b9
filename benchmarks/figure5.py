"""Figure 5 of the paper: how long each method takes, and ESC against LAU as a ratio.

    python benchmarks/figure5.py --json results/bench-figure5.json
    python benchmarks/figure5.py --json results/bench-figure5.json --draw   # only the figure

CIFAR-10 All-CNN, class deer, 5,000 training images in memory, one thread, batches of 64, weights
with channels last. After a warm-up every round runs every method once, so that all meet the same
machine; figures are medians over the rounds, of user and system seconds and of wall seconds. Where
other programs run beside it, wall seconds measure those too: compare CPU seconds.

LAU runs in two forms. Ours reads the features once. The other runs the network for every step, as
code does that trains the head of a whole network. `forward pass` is one pass over the forget set
and nothing else.

Methods that train the whole network cost the same for every image. They run all epochs of their
default settings on fewer images (`--few`), and their seconds are multiplied up to all images; the
JSON marks them as scaled. A run that was stopped goes on with the next round.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from _figure5_plot import draw
from _models import BATCH, DEER, images, make
from torch import nn
from torch.utils.data import Subset, TensorDataset

from unspan.data.loading import batches
from unspan.errors import InconclusiveError
from unspan.extraction import FeatureLayer, find_feature_layer
from unspan.extraction.reading import head_parameters
from unspan.extraction.stream import ModelFeatures
from unspan.methods import ESC, ESCT, LAU, Boundary, Finetune, NegGrad, RandomLabels, SalUn
from unspan.methods.base import EraserMethod, FitContext, TrainedMethod
from unspan.run import Run
from unspan.training.checkpoint import Checkpoint
from unspan.training.context import TrainingContext, image_layout

RETAINED = 45_000  # images of the other classes
RATIO = "LAU over ESC"
PRINTED = 9.17
Round = dict[str, dict[str, Any]]
"""CPU and wall seconds by method."""


@dataclass(frozen=True)
class Bench:
    """What every method gets: a fresh copy of one network, and the same images.

    Attributes:
        model: the original, in evaluation mode.
        layer: where its features are.
        forget: images of the class in memory.
        retain: images of the other classes, for methods that read them.
    """

    model: nn.Module
    layer: FeatureLayer
    forget: TensorDataset
    retain: TensorDataset

    def stream(self, model: nn.Module) -> ModelFeatures:
        """Features of the forget set, read anew."""
        run = Run(batch_size=BATCH)
        read = batches(self.forget, run)
        return ModelFeatures(model, self.layer, read, run, total=len(self.forget), head=None)

    def context(self, model: nn.Module, **parts: Any) -> TrainingContext:
        """What a method that trains sees: the parts of the data that it needs."""
        return TrainingContext(
            model=model,
            feature_layer=self.layer,
            parts=parts,
            run=Run(batch_size=BATCH),
            checkpoint=Checkpoint(None, ""),
            classes=10,
            forgotten=(DEER,),
        )


@dataclass(frozen=True)
class Row:
    """A method as it is timed.

    Attributes:
        work: what is timed, on a fresh copy of the network; gives what it reports.
        scale: what its seconds are multiplied by.
        settings: in words.
    """

    work: Callable[[nn.Module], dict[str, Any]]
    scale: float = 1.0
    settings: str = ""


def passed(bench: Bench) -> Row:
    """One forward pass over the forget set."""

    def work(model: nn.Module) -> dict[str, Any]:
        for _ in bench.stream(model):
            pass
        return {}

    return Row(work)


def fitted(bench: Bench, method: EraserMethod) -> Row:
    """A method that fits a map on features."""

    def work(model: nn.Module) -> dict[str, Any]:
        head = head_parameters(model, bench.layer)
        report = method.fit(FitContext(forget=bench.stream(model), head=head, model=model)).report
        return {"epochs": report["epochs"]} if "epochs" in report else {}

    return Row(work, settings=repr(method))


def head_trained(bench: Bench, method: LAU, *, cached: bool) -> Row:
    """LAU, with features that are read once, or anew in every epoch."""

    def work(model: nn.Module) -> dict[str, Any]:
        context = bench.context(model, forget=bench.forget)
        if cached:
            return {"epochs": len(unlearned(method, context).history)}
        left, epochs = 1.0, 0
        while left and epochs < method.epochs:  # one epoch a call, and a pass each time
            done = unlearned(replace(method, epochs=1), context)
            left, epochs = done.history[-1]["forget_accuracy"], epochs + 1
        return {"epochs": epochs}

    return Row(work, settings=repr(method))


def trained(bench: Bench, method: TrainedMethod, few: int) -> Row:
    """A method that trains the network: all its epochs, on few images.

    Its learning rate is small, since few images of one class let the loss run away. Time does not
    depend on it.
    """
    assert method.training is not None
    training = replace(method.training, lr=1e-6, batch=BATCH, stop_at=None)
    short = replace(method, training=training)
    count = {"forget": few, "retain": few}
    if {"forget", "retain"} <= method.needs:
        count["forget"] = few // 9  # as many of each class
    data = {"forget": bench.forget, "retain": bench.retain}
    whole = {"forget": len(bench.forget), "retain": RETAINED}
    named = [name for name in data if name in method.needs]
    parts = {name: Subset(data[name], range(count[name])) for name in named}
    scale = sum(whole[name] for name in named) / sum(count[name] for name in named)

    def work(model: nn.Module) -> dict[str, Any]:
        unlearned(short, bench.context(model, **parts))
        return {}

    return Row(work, scale, repr(short))


def unlearned(method: TrainedMethod, context: TrainingContext) -> Any:
    """What a method returns, in the memory layout in which `erase` trains."""
    with image_layout(context.model), torch.enable_grad():
        return method.unlearn(context)


def rows(bench: Bench, few: int) -> dict[str, Row]:
    """All methods, at their default settings."""
    whole = (NegGrad(), RandomLabels(), Boundary(), Finetune(), SalUn())
    return {
        "forward pass": passed(bench),
        "esc": fitted(bench, ESC()),
        "esc-t": fitted(bench, ESCT()),
        "lau": head_trained(bench, LAU(), cached=True),
        "lau, network in every step": head_trained(bench, LAU(), cached=False),
        **{one.name: trained(bench, one, few) for one in whole},
    }


def measured(bench: Bench, row: Row) -> dict[str, Any]:
    """CPU and wall seconds of one run on a fresh copy, and what the method reports."""
    model = copy.deepcopy(bench.model)
    wall, spent = time.perf_counter(), time.process_time()
    report = row.work(model)
    return {"cpu": time.process_time() - spent, "wall": time.perf_counter() - wall, **report}


def earlier(file: Path, about: dict[str, Any]) -> list[Round]:
    """The rounds of a run that was stopped, where it measured the same in the same way."""
    found = json.loads(file.read_text("utf-8")) if file.exists() else {}
    same = all(found.get(key) == value for key, value in about.items())
    return list(found["measured"]) if same else []


def summed_up(rows: dict[str, Row], rounds: list[Round]) -> dict[str, Any]:
    """Medians and ratios over rounds, and the rounds themselves."""
    return {
        "rounds": len(rounds),
        "ratios of CPU seconds": ratios(rounds),
        "seconds": {
            name: medians(row, [one[name] for one in rounds]) for name, row in rows.items()
        },
        "measured": rounds,
    }


def medians(row: Row, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of a method, times its scale."""
    summary: dict[str, Any] = {"settings": row.settings, "scaled": row.scale != 1}
    for clock in ("cpu", "wall"):
        seconds = sorted(row.scale * one[clock] for one in found)
        summary[clock] = round(statistics.median(seconds), 3)
        summary[f"{clock} range"] = [round(seconds[0], 3), round(seconds[-1], 3)]
    if "epochs" in found[-1]:
        summary["epochs"] = found[-1]["epochs"]
    return summary


def ratios(rounds: list[Round]) -> dict[str, float]:
    """Medians of ratios of CPU seconds within a round."""

    def over(above: str, below: str) -> float:
        return round(statistics.median(one[above]["cpu"] / one[below]["cpu"] for one in rounds), 2)

    return {
        RATIO: over("lau", "esc"),
        f"{RATIO}, network in every step": over("lau, network in every step", "esc"),
        "ESC-T over ESC": over("esc-t", "esc"),
        "forward pass, share of ESC": over("forward pass", "esc"),
        "forward pass, share of LAU": over("forward pass", "lau"),
        "printed": PRINTED,
    }


def opened(few: int) -> tuple[Bench, str, str]:
    """The network and the images, and what they are."""
    model, _, size, what = make("allcnn")
    forget, data = images(model, "allcnn", 5000, size)
    layer, _ = find_feature_layer(model, forget.tensors[0][:2])
    generator = torch.Generator().manual_seed(0)
    kept = torch.randn(
        few, 3, size, size, generator=generator
    )  # time does not depend on the values
    return Bench(model, layer, forget, TensorDataset(kept, torch.arange(few) % DEER)), what, data


def main() -> None:
    """Time all, print, write the JSON and the figure after every round."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--few", type=int, default=128, help="images of methods that train")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--draw", action="store_true", help="only draw the figure anew")
    given = parser.parse_args()
    if given.draw:
        draw(json.loads(given.json.read_text("utf-8")), given.json.with_suffix(".svg"))
        return
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    bench, what, data = opened(given.few)
    tried = rows(bench, given.few)
    small = replace(bench, forget=TensorDataset(*bench.forget[:256]))
    for row in rows(small, 64).values():  # warm-up; so few images change nothing for some
        with contextlib.suppress(InconclusiveError):
            measured(small, row)
    about = {
        "network": what,
        "data": f"{data}, {len(bench.forget):,} in memory",
        "command": f"python benchmarks/figure5.py --few {given.few} --json {given.json}",
        "machine": {"torch": torch.__version__, "threads": 1, "batch": BATCH},
        "images of methods that train": given.few,
    }
    rounds = earlier(given.json, about)
    while len(rounds) < given.rounds:
        done: Round = {}
        for name, row in tried.items():
            done[name] = measured(bench, row)
            print(len(rounds) + 1, name, json.dumps(done[name]), flush=True)
        rounds.append(done)
        found = about | summed_up(tried, rounds)
        given.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        draw(found, given.json.with_suffix(".svg"))


if __name__ == "__main__":
    main()
