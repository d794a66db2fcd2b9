"""The networks of a benchmark: the original and the retrained model, trained by the recipe of a
cell and kept by content.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from unspan.benchmark.store import Store
from unspan.data.loading import batches, peek
from unspan.errors import UsageError
from unspan.extraction import find_feature_layer
from unspan.extraction.stream import example
from unspan.methods.descent import descend
from unspan.models import build, classes_of
from unspan.models.frozen_front import FrozenFront, ThroughFront
from unspan.models.hf import with_classifier
from unspan.models.redraw import redraw
from unspan.run import Run
from unspan.training.checkpoint import Checkpoint
from unspan.training.context import TrainingContext, image_layout
from unspan.training.settings import Training


def digest(path: Path) -> str:
    """sha256 of a weights file.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error


def start(spec: str, classes: int, seed: int, weights: Path | None = None) -> tuple[nn.Module, Any]:
    """A network before training, and its preparation of images.

    Networks of Python code start from random weights of the seed; those of a library or the hub
    from their published weights with a new head. With `weights` it is a trained network. Of a
    `FrozenFront` it is the part that is trained, with a new head; the frozen layers belong to the
    preparation.

    Args:
        spec: as `unspan.models.build` takes it.
        classes: outputs.
        seed: of what is drawn.
        weights: safetensors of all weights.
    """
    if weights is not None or spec.startswith("python:"):
        loaded = build(spec, weights=weights, num_classes=classes)
        if isinstance(loaded.model, FrozenFront):
            return _behind_front(loaded.model, loaded.preprocess, None if weights else seed)
        if weights is None:
            redraw(loaded.model, seed)
        return loaded.model, loaded.preprocess
    try:
        loaded = build(spec)
    except UsageError as error:
        raise UsageError(
            f"{error} Published weights are needed for {spec}; without a hub, put the folder of the"
            " model (config.json, model.safetensors, preprocessor_config.json) on this machine and"
            ' write model = "transformers:/path/to/it" in a copy of the spec.'
        ) from error
    model = loaded.model
    if loaded.recipe.get("auto_class") == "AutoModel":
        model = with_classifier(loaded, classes, seed)
    elif classes_of(model) != classes:
        _new_head(model, classes, seed)
    model.requires_grad_(True)
    return model, loaded.preprocess


def _behind_front(
    model: FrozenFront, preprocess: Any, seed: int | None
) -> tuple[nn.Module, ThroughFront]:
    """The part of a published network that is trained, and the frozen rest as its preparation of
    images, so that frozen layers run once for each image instead of in every epoch.

    Args:
        model: with its published weights, or trained ones.
        preprocess: of an image.
        seed: of the new head; None keeps the one there is.
    """
    if preprocess is None:
        raise UsageError(
            f"{type(model).__name__} does not say how images are prepared: give the class an"
            " attribute `preprocess`, a dict like that of unspan.zoo.AllCNN."
        )
    if seed is not None:
        redraw(model.tail.get_submodule(model.head), seed)
    return model.tail, ThroughFront(preprocess, model.front)


def _new_head(model: nn.Module, classes: int, seed: int) -> None:
    """Replace the last linear layer by one with so many outputs, drawn by the seed."""
    name, old = next(
        (
            (name, layer)
            for name, layer in reversed(list(model.named_modules()))
            if isinstance(layer, nn.Linear)
        ),
        ("", None),
    )
    if old is None:
        raise UsageError(
            f"{type(model).__name__} has no linear layer, so it gets no head with {classes}"
            " outputs."
        )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        fresh = nn.Linear(old.in_features, classes)
    model.set_submodule(name, fresh)
    config: Any = getattr(model, "config", None)
    if hasattr(config, "num_labels"):
        config.num_labels = classes


def trained(
    store: Store, spec: str, train: dict[str, Any], data: Any, classes: int, run: Run
) -> tuple[nn.Module, dict[str, Any]]:
    """A network trained on all of `data`, from the store when it is there, and the story of its
    training.

    Args:
        store: where it is kept; a training that was killed goes on after its last epoch.
        spec: of the network.
        train: settings of `unspan.training.loop.Training`.
        data: labelled samples.
        classes: outputs.
        run: device, seed, progress.
    """
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in train.items()
    }
    settings = Training(**({"lr": 0.01, "epochs": 50, "batch": 64} | given))
    work = _work(spec, data, classes, run)
    name = hashlib.sha256(
        json.dumps([spec, repr(settings), classes, run.seed, work.fingerprint()]).encode()
    ).hexdigest()[:16]
    path = store.path("network", name, ".safetensors")
    story = store.once(
        "network",
        name,
        lambda: _train(store, name, path, spec, settings, work),
        lambda: run.report("another process trains this network", 0, None),
    )
    work.model.load_state_dict(load_file(path))
    return work.model.eval(), story | {"name": name}


def _work(spec: str, data: Any, classes: int, run: Run) -> TrainingContext:
    """A network before training, with the data that it will be trained on."""
    model, _ = start(spec, classes, run.seed)
    model = model if run.device is None else model.to(run.device)
    first, _ = peek(batches(data, run, shard=False))
    feature_layer, _ = find_feature_layer(model.eval(), example(first, model))
    return TrainingContext(
        model=model,
        feature_layer=feature_layer,
        parts={"retain": data},
        run=run,
        checkpoint=Checkpoint(None, ""),
        classes=classes,
    )


def _train(
    store: Store, name: str, path: Path, spec: str, settings: Training, work: TrainingContext
) -> None:
    """Train a network, and keep its weights and how they came about."""
    epochs = store.root / "networks" / f"{name}.epochs"
    kept = replace(work, checkpoint=Checkpoint(epochs, name))
    with image_layout(work.model):
        history = descend(kept, settings, "training").history
    state = {key: value.contiguous() for key, value in work.model.state_dict().items()}
    part = path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, part)
    part.replace(path)
    store.write(
        "network",
        name,
        {
            "model": spec,
            "settings": repr(settings),
            "samples": len(work.parts["retain"]),
            "seconds": round(sum(row["seconds"] for row in history), 2),
            "history": history,
        },
    )
    shutil.rmtree(epochs, ignore_errors=True)
