"""Networks of which only the last part trains: frozen layers run once, and nothing else changes."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from unspan.benchmark.cell import Bench
from unspan.benchmark.data import opened
from unspan.benchmark.grid import Cell
from unspan.benchmark.networks import start
from unspan.benchmark.store import Store
from unspan.benchmark.table_values import Filled
from unspan.benchmark.views import TABLES
from unspan.errors import UsageError
from unspan.extraction import find_feature_layer
from unspan.methods.descent import descend
from unspan.models import build
from unspan.run import Run
from unspan.training.checkpoint import Checkpoint
from unspan.training.context import TrainingContext
from unspan.training.settings import Training

NETWORK = """
import torch
from torch import nn
from unspan.models.frozen_front import FrozenFront

class Net(FrozenFront):
    def __init__(self, num_classes=3):
        with torch.random.fork_rng():
            torch.manual_seed(7)  # stands for published weights
            front = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU())
            tail = nn.Sequential()
            tail.add_module("conv", nn.Conv2d(6, 8, 3, 2, 1))
            tail.add_module("relu", nn.ReLU())
            tail.add_module("pool", nn.AdaptiveAvgPool2d(1))
            tail.add_module("flatten", nn.Flatten())
            tail.add_module("head", nn.Linear(8, num_classes))
        super().__init__(front, tail, "head")

class Documented(Net):
    preprocess = {"resize": (8, 8), "crop": None, "interpolation": "bilinear",
                  "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "scale": 1 / 255, "mode": "RGB"}
"""


def picture(seed, label):
    """An image of 12 x 12 pixels whose colour tells its class."""
    values = np.random.default_rng(seed).integers(0, 120, (12, 12, 3)).astype(np.uint8)
    values[..., label] += 120
    return Image.fromarray(values)


@pytest.fixture
def network(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(NETWORK)
    return f"python:{path}"


@pytest.fixture
def folder(tmp_path):
    for split, count in (("train", 20), ("test", 8)):
        for label in range(3):
            place = tmp_path / "data" / split / f"class{label}"
            place.mkdir(parents=True)
            for number in range(count):
                seed = 1000 * label + number + (500 if split == "test" else 0)
                picture(seed, label).save(place / f"{number}.png")
    return tmp_path / "data"


def test_frozen_layers_belong_to_the_preparation_and_the_head_to_the_seed(network):
    spec = f"{network}:Documented"
    whole = build(spec, num_classes=3)
    tail, prepare = start(spec, 3, seed=0)
    again, other = start(spec, 3, seed=0)[0], start(spec, 3, seed=1)[0]
    image = picture(0, 1)
    inputs = prepare(image)
    assert inputs.shape == (6, 4, 4) and not inputs.requires_grad and not inputs.is_inference()
    assert torch.equal(inputs, whole.model.front(whole.preprocess(image)[None])[0])
    published = whole.model.tail.state_dict()
    for one in (tail, other):
        assert torch.equal(one.conv.weight, published["conv.weight"]), "the start is published"
        assert not torch.equal(one.head.weight, published["head.weight"]), "the head is new"
    assert torch.equal(tail.head.weight, again.head.weight)
    assert not torch.equal(tail.head.weight, other.head.weight)


def test_a_front_without_a_preparation_is_refused(network):
    with pytest.raises(UsageError, match="attribute `preprocess`"):
        start(f"{network}:Net", 3, 0)


def test_training_behind_the_front_is_training_with_frozen_layers(network):
    whole = build(f"{network}:Documented", num_classes=3)
    tail, prepare = start(f"{network}:Documented", 3, seed=0)
    whole.model.tail.load_state_dict(tail.state_dict())
    images = [picture(i, i % 3) for i in range(24)]
    labels = torch.arange(24) % 3
    found = []
    for model, how in ((whole.model, whole.preprocess), (tail, prepare)):
        inputs = torch.stack([how(image) for image in images])
        layer, _ = find_feature_layer(model.eval(), inputs[:2])
        context = TrainingContext(
            model=model,
            feature_layer=layer,
            parts={"retain": TensorDataset(inputs, labels)},
            run=Run(),
            checkpoint=Checkpoint(None, ""),
            classes=3,
        )
        descend(context, Training(lr=0.1, epochs=2, batch=8), "training")
        found.append(model)
    own, behind = found[0].tail.state_dict(), found[1].state_dict()
    assert all(torch.allclose(own[name], behind[name], atol=1e-5) for name in own)
    assert not torch.allclose(
        behind["conv.weight"], start(f"{network}:Documented", 3, 0)[0].conv.weight
    )


def test_a_benchmark_runs_behind_a_front(network, folder, tmp_path):
    bench = Bench(Store(tmp_path / "out"), Run(batch_size=16))
    values = {}
    for method in ("original", "retrain", "esc"):
        cell = Cell(
            data=str(folder),
            model=f"{network}:Documented",
            train={"lr": 0.1, "epochs": 12, "batch": 16},
            request={"classes": [1]},
            method=method,
            settings={"rank": 1} if method == "esc" else {},
        )
        values[method] = bench.compute(cell)["steps"][0]["values"]
    assert values["original"]["D_ft"]["value"] > 60
    assert values["retrain"]["D_ft"]["value"] == 0 and values["retrain"]["D_rt"]["value"] > 60
    assert values["esc"].keys() == values["original"].keys(), "an eraser is measured as they are"


@pytest.mark.parametrize("name", ["tiny-imagenet-40", "lfw62", "utkface-age8"])
def test_tables_under_a_name_open_from_the_data_root(name, tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pytest.importorskip("datasets")
    with pytest.raises(UsageError, match=r"train\.parquet and\s+test\.parquet"):
        opened(name, tmp_path, None)
    (tmp_path / name).mkdir()
    for split in ("train", "test"):
        rows = []
        for label in range(3):
            content = io.BytesIO()
            picture(label, label).save(content, "PNG")
            rows.append({"bytes": content.getvalue(), "path": None})
        table = arrow.table({"image": rows, "label": [0, 1, 2]})
        parquet.write_table(table, tmp_path / name / f"{split}.parquet")
    data = opened(name, tmp_path, lambda image: torch.tensor(np.array(image)))
    assert len(data.train) == len(data.test) == 3 and len(data.classes) == 3
    assert data.train[1][0].shape == (12, 12, 3)


def filled(label, history):
    values = {"MIA (balanced)": {"value": 46.0}, "D_t": {"value": 50.0}}
    row = {"label": label, "method": label, "needs_retain": True, "pair": "p", "cells": [1]}
    result = {"steps": [{"values": values, "beside": {}, "seconds": 1.0}], **history}
    return Filled(row, (result,), {})


def test_the_table_of_faces_has_the_distances_of_dlfd_and_the_forgetting_score():
    history = [[{"distance_retained": 0.2, "distance_synthesised": 0.3}, {"loss": 1.0}]]
    rows = [filled("retrain", {}), filled("dlfd", {"history": history})]
    (table,) = TABLES["faces"]("name", "title", rows)
    retrained, own = table.lines
    assert own.numbers["forgetting score"].mean == pytest.approx(8), "2 |46 - 50|"
    assert own.numbers["distance_synthesised"].mean == 0.3, "of the last epoch that has one"
    assert own.numbers["epochs"].mean == 2
    assert not {"epochs", "distance_retained"} & set(retrained.numbers)
    (plain,) = TABLES["faces"]("name", "title", rows[:1])
    assert "distance_retained" not in [one.key for one in plain.columns]
