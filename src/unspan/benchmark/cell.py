"""Compute one cell: data, original, method, measurement."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset

from unspan.artifact.receipt import versions
from unspan.auditing.subjects import subject
from unspan.benchmark import networks
from unspan.benchmark.data import Data, opened
from unspan.benchmark.grid import Cell
from unspan.benchmark.measure import beside, measured, outputs, over_views
from unspan.benchmark.pictures import drawn
from unspan.benchmark.preflight import placed, refuse_classes
from unspan.benchmark.prepared import Prepared, key_of, loaded, untrained
from unspan.benchmark.requests import requests
from unspan.benchmark.spec_text import NETWORKS
from unspan.benchmark.store import Store
from unspan.benchmark.third_party import code_of, short_name
from unspan.benchmark.trials import chosen_method
from unspan.data.loading import batches
from unspan.erasure.pipeline import erase
from unspan.errors import InconclusiveError, NotFinite, UnspanError, UsageError
from unspan.metrics.outputs import Outputs
from unspan.run import Run, device_name


@dataclass
class Bench:
    """Computes cells of a store; keeps what the next cell of the same pair and request needs.

    Attributes:
        store: where networks and chosen settings are kept.
        run: device, batch size, progress.
        data_root: folder of datasets.
        weights: files of given weights by `original` and `retrain`, one for each seed of that row.
    """

    store: Store
    run: Run
    data_root: Path | None = None
    weights: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    _prepared: Prepared | None = None
    _last: tuple[str, nn.Module] | None = None  # id of the cell made last, and its model

    def compute(self, cell: Cell) -> dict[str, Any]:
        """Everything a cell measures, as JSON values."""
        ready = self.prepared(cell)
        run = replace(self.run, seed=cell.seed)
        found: dict[str, Any] = {
            "cell": cell.record(),
            "classes": ready.classes,
            "versions": versions(),
            "threads": torch.get_num_threads(),
            "device": device_name(run.device),
        }
        models, seconds, how = self.models(cell)
        found |= how
        found["steps"] = [
            self._measured(cell, ready, place, model) | {"seconds": spent}
            for place, (model, spent) in enumerate(zip(models, seconds, strict=True))
        ]
        return found

    def models(self, cell: Cell) -> tuple[list[nn.Module], list[float], dict[str, Any]]:
        """The network after every request, the seconds of each, and how they came about."""
        ready = self.prepared(cell)
        how: dict[str, Any] = {}
        if cell.method == "original":
            models, seconds = [ready.original] * len(ready.steps), [0.0] * len(ready.steps)
            how["training"] = ready.story
        elif cell.method == "retrain":
            models, seconds, how["training"] = self._retrained(cell, ready)
        else:
            _refuse_changed(cell)
            run = replace(self.run, seed=cell.seed)
            method, how["tuning"] = chosen_method(cell, ready, run, self.store)
            how["settings"] = repr(method)
            models, seconds, how["history"] = _erased(ready, method, run)
        self._last = cell.id, models[-1]
        return models, seconds, how

    def draw(self, cell: Cell, kind: str) -> dict[str, Any]:
        """A picture of a cell, as JSON values: `gradcam` or `tsne`.

        The network is the one that was scored last, else it is made once more.
        """
        ready = self.prepared(cell)
        if self._last is None or self._last[0] != cell.id:
            self.models(cell)
        assert self._last is not None
        content = drawn(kind, ready, self._last[1], self.run)
        return {
            "cell": cell.id,
            "kind": kind,
            "content": content,
            "versions": versions(),
            "device": device_name(self.run.device),
        }

    def check(self, cells: Sequence[Cell], places: Mapping[str, str]) -> None:
        """Open every dataset and network of some cells, so that what is missing is said once and
        before any work.

        Args:
            cells: that are to be computed.
            places: where the pair of each stands, by id, for messages.

        Raises:
            UsageError: a dataset or network that is not here; given weights that do not fit.
            DataError: a dataset that is damaged.
        """
        for name in dict.fromkeys(cell.data for cell in cells):
            own = [cell for cell in cells if cell.data == name]
            with placed(places[own[0].id]):
                data = opened(name, self.data_root, None)
            refuse_classes(data, own, places)
            for cell in {cell.model: cell for cell in reversed(own)}.values():
                with placed(places[cell.id]):
                    self._check_model(cell, data)

    def _check_model(self, cell: Cell, data: Data) -> None:
        """Refuse a network that is not here or does not prepare images, and weights of another."""
        _, preprocess = networks.start(cell.model, len(data.classes), 0)
        for path in itertools.chain.from_iterable(self.weights.values()):
            networks.start(cell.model, len(data.classes), 0, path)
        if preprocess is None and not isinstance(data.train[0][0], Tensor):
            raise UsageError(
                f"{cell.data} holds images, and {cell.model} does not say how to prepare them: give"
                " the model class an attribute `preprocess`, a dict like that of unspan.zoo.AllCNN"
                " (resize, crop, mean, std, ...)."
            )

    def prepared(self, cell: Cell) -> Prepared:
        """The data and the original of a cell; kept for the next cell of the same request."""
        key = key_of(cell)
        if self._prepared is not None and self._prepared.key == key:
            return self._prepared
        self._prepared = self._last = None  # their memory first
        run = replace(self.run, seed=0)
        run.report("reading the data", 0, None)
        _, preprocess = networks.start(cell.model, 2, 0)
        data = opened(cell.data, self.data_root, preprocess)
        given = self.weights.get("original") is not None
        plain = requests(data, cell.request, None, cell.holdout)
        asked = requests(data, cell.request, cell.retain, cell.holdout, whole_forget=given)
        steps, pool = loaded(asked, run)
        model, story = self._network(cell, data, pool, "original")
        self._prepared = Prepared(
            key=key,
            steps=steps,
            pool=pool,
            shares=[
                len(one.retain) / max(1, len(all_.retain)) if given else 1.0
                for one, all_ in zip(steps, plain, strict=True)
            ],
            classes=data.classes,
            original=model,
            story=story,
            tested=[outputs(model, one.test_forget, one.test_retain, run) for one in steps],
            random=untrained(model, steps[-1], run),
        )
        return self._prepared

    def _network(
        self, cell: Cell, data: Data, samples: Any, name: str
    ) -> tuple[nn.Module, dict[str, Any]]:
        seed = cell.seed if name == "retrain" else cell.original_seed
        files = self.weights.get(name)
        if files is not None:
            model, _ = networks.start(cell.model, len(data.classes), 0, files[seed])
            return (model if self.run.device is None else model.to(self.run.device)), {
                "weights": files[seed].name,
                "seconds": 0.0,
            }
        return networks.trained(
            self.store,
            cell.model,
            cell.train,
            samples,
            len(data.classes),
            replace(self.run, seed=seed),
        )

    def _retrained(
        self, cell: Cell, ready: Prepared
    ) -> tuple[list[nn.Module], list[float], list[dict[str, Any]]]:
        """One network for every step, trained on what is kept after it."""
        data = Data(None, None, ready.classes)
        found = [self._network(cell, data, one.retain, "retrain") for one in ready.steps]
        return (
            [model for model, _ in found],
            [float(story["seconds"]) for _, story in found],
            [story for _, story in found],
        )

    def _measured(
        self, cell: Cell, ready: Prepared, place: int, model: nn.Module
    ) -> dict[str, Any]:
        run = replace(self.run, seed=cell.seed)
        splits = ready.steps[place]
        so_far: Any = ConcatDataset([one.forget for one in ready.steps[: place + 1]])
        run.report(f"measuring {cell.method}", place, len(ready.steps))
        try:
            fit = _finite(outputs(model, so_far, splits.retain, run))
            test = _finite(outputs(model, splits.test_forget, splits.test_retain, run))
        except NotFinite as error:
            raise _ruined(cell, error) from error
        views = over_views(model, so_far, splits, run) if splits.classes else None
        head = subject(
            "model", ready.original, next(iter(batches(splits.forget, run))).inputs
        ).feature_layer.head
        values = measured(
            fit,
            test,
            by_class=bool(splits.classes),
            share=ready.shares[place],
            seed=cell.seed,
            views=views,
        )
        return {
            "values": values,
            "beside": beside(
                ready.tested[place],
                test,
                ready.original,
                model,
                head,
                ready.random if place == len(ready.steps) - 1 else [],
                values["probe"]["value"] if splits.classes else None,
            ),
        }


def _finite(found: Outputs) -> Outputs:
    """The outputs, where class scores are numbers; features were looked at when they were read.

    Minus infinity alone is how a model masks a class.
    """
    scores = found.logits
    if scores is not None and bool((torch.isnan(scores) | (scores == torch.inf)).any()):
        raise NotFinite("Class scores of the network are NaN or infinite.")
    return found


def _ruined(cell: Cell, error: NotFinite) -> UnspanError:
    """What to say of a network whose outputs are no numbers: the method is to blame, if any."""
    if cell.method in NETWORKS:
        return error
    return InconclusiveError(
        f"{short_name(cell.method)} ruined the network: it gives NaN or infinity where the original"
        " gives numbers. Use weaker settings, such as a lower lr."
    )


def _refuse_changed(cell: Cell) -> None:
    if code_of(cell.method) != cell.code:
        raise UsageError(
            f"The code of {short_name(cell.method)} changed since this run read it. Start the run"
            " again: the changed method gets cells of its own."
        )


def _erased(
    ready: Prepared, method: Any, run: Run
) -> tuple[list[nn.Module], list[float], list[Any]]:
    """The model after each request, the seconds and the history of each."""
    models, seconds, histories = [], [], []
    current: Any = ready.original
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for splits in ready.steps:
            current = erase(
                current,
                splits,
                method,
                run,
                key=f"unspan benchmark, seed {run.seed}".encode(),
                check_labels=False,
                measure=False,
            )
            models.append(current.model)
            seconds.append(float(current.receipt["seconds"]["fit"]))
            histories.append(current.receipt["method"]["fit"].get("history", []))
    return models, seconds, histories
