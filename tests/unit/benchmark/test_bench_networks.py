"""The networks of a benchmark: where they start, what they are trained on, that they are kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from unspan.benchmark import packed
from unspan.benchmark.cell import Bench
from unspan.benchmark.data import opened
from unspan.benchmark.grid import Cell
from unspan.benchmark.measure import measured
from unspan.benchmark.networks import digest, start, trained
from unspan.benchmark.spec import find, load
from unspan.benchmark.store import Store
from unspan.errors import ModelError, UsageError
from unspan.extraction import find_feature_layer
from unspan.metrics.outputs import Outputs
from unspan.models import build
from unspan.run import Run

RECIPE = {"lr": 3e-3, "epochs": 2, "optimiser": "adam", "weight_decay": 0.0}
NET = "python:unspan.zoo:wide_digits"


def cell(**more):
    return Cell(
        **{
            "data": "digits",
            "model": NET,
            "train": RECIPE,
            "request": {"classes": [4]},
            "method": "original",
            **more,
        }
    )


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """A folder as transformers saves a ViT."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("vit")
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=8,
        patch_size=4,
        num_channels=1,
        num_labels=3,
    )
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    return folder


def test_a_published_network_keeps_its_weights_and_gets_a_new_head(vit):
    published = build(f"transformers:{vit}").model.state_dict()
    model, _ = start(f"transformers:{vit}", 10, seed=0)
    again, _ = start(f"transformers:{vit}", 10, seed=0)
    other, _ = start(f"transformers:{vit}", 10, seed=1)
    assert model(torch.rand(2, 1, 8, 8)).logits.shape == (2, 10) and model.config.num_labels == 10
    state = model.state_dict()
    assert all(
        torch.equal(state[key], value)
        for key, value in published.items()
        if not key.startswith("classifier")
    )
    assert torch.equal(state["classifier.weight"], again.state_dict()["classifier.weight"])
    assert not torch.equal(state["classifier.weight"], other.state_dict()["classifier.weight"])
    same, _ = start(f"transformers:{vit}", 3, seed=0)
    assert torch.equal(same.state_dict()["classifier.weight"], published["classifier.weight"]), (
        "the classes fit, so does the head"
    )
    assert all(one.requires_grad for one in model.parameters())


def test_a_published_network_without_a_head_gets_a_classifier(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=8,
        patch_size=4,
        num_channels=1,
    )
    transformers.ViTModel(config).save_pretrained(tmp_path / "vit")  # with its pooler, as in21k
    spec = f"transformers:{tmp_path / 'vit'}"
    published = build(spec).model.state_dict()
    (one, _), (same, _), (other, _) = (start(spec, 5, seed) for seed in (0, 0, 1))
    assert one(torch.rand(2, 1, 8, 8)).logits.shape == (2, 5)
    state = one.state_dict()
    kept = {key: value for key, value in published.items() if not key.startswith("pooler")}
    assert kept and all(torch.equal(state[f"vit.{key}"], value) for key, value in kept.items())
    assert torch.equal(state["classifier.weight"], same.state_dict()["classifier.weight"])
    assert not torch.equal(state["classifier.weight"], other.state_dict()["classifier.weight"])
    assert find_feature_layer(one.eval(), torch.rand(4, 1, 8, 8))[0].head == "classifier"
    save_file(state, tmp_path / "trained.safetensors")
    given, _ = start(spec, 5, 0, tmp_path / "trained.safetensors")
    assert torch.equal(given.classifier.weight, one.classifier.weight)


def test_a_network_of_python_code_is_drawn_by_the_seed():
    one, two, other = (start(NET, 10, seed)[0].state_dict()["fc.weight"] for seed in (0, 0, 1))
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_a_network_is_trained_once_and_then_read(tmp_path):
    store, data = Store(tmp_path), opened("digits", None, None)
    told = []
    run = Run(batch_size=200, progress=lambda stage, done, total: told.append(stage))
    model, story = trained(store, NET, RECIPE, data.train, 10, run)
    assert any("training" in stage for stage in told) and len(story["history"]) == 2
    told.clear()
    again, same = trained(store, NET, RECIPE, data.train, 10, run)
    assert not any(stage.startswith("training") for stage in told) and same["name"] == story["name"]
    assert all(
        torch.equal(one, two)
        for one, two in zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    )
    _, other = trained(store, NET, RECIPE | {"epochs": 1}, data.train, 10, run)
    assert other["name"] != story["name"]
    _, less = trained(store, NET, RECIPE, torch.utils.data.Subset(data.train, range(500)), 10, run)
    assert less["name"] != story["name"], "other samples, another network"
    assert not list((tmp_path / "networks").glob("*.epochs")) and not list(
        tmp_path.rglob("*.claim")
    )


def test_the_retrained_network_never_saw_the_request_and_the_original_saw_all(tmp_path):
    bench = Bench(Store(tmp_path), Run(batch_size=200))
    data = opened("digits", None, None)
    classes = [int(y) for _, y in data.train]
    for method, count in (("original", len(classes)), ("retrain", len(classes) - classes.count(4))):
        found = bench.compute(cell(method=method))
        story = found["training"] if method == "original" else found["training"][0]
        assert story["samples"] == count
    values = found["steps"][0]["values"]
    assert values["D_f"]["value"] == values["D_ft"]["value"] == 0 and values["D_rt"]["value"] > 80


def test_a_cut_is_the_same_share_of_every_class_for_trained_networks_and_for_probes(tmp_path):
    labels = [int(y) for _, y in opened("digits", None, None).train]
    kept, all_ = len(labels) - labels.count(4), labels.count(4)
    bench = Bench(Store(tmp_path), Run(batch_size=200))
    bench.compute(cell(retain=300))
    ready = bench._prepared
    assert (len(ready.steps[0].retain), ready.shares) == (300, [1.0])
    assert len(ready.steps[0].forget) == round(300 / kept * all_) == len(ready.pool) - 300, (
        "the network is trained on as many of the forgotten class as of any other"
    )
    model, _ = start(NET, 10, seed=5)
    save_file(model.state_dict(), tmp_path / "given.safetensors")
    given = Bench(
        Store(tmp_path), Run(batch_size=200), weights={"original": [tmp_path / "given.safetensors"]}
    )
    given.compute(cell(retain=300))
    assert len(given._prepared.steps[0].forget) == all_ and given._prepared.shares == [
        pytest.approx(300 / kept)
    ], "a given network saw them all; probes get a part"


def test_probes_see_every_forgotten_class_when_samples_are_cut():
    labels = torch.tensor([0] * 40 + [1] * 40 + [2] * 60)
    rows = torch.nn.functional.one_hot(labels, 3).float()
    whole = Outputs(features=rows, logits=rows, labels=labels, forget=labels < 2)
    values = measured(whole, whole, by_class=True, share=0.25, seed=0)
    assert values["probe"]["value"] == 100, (
        "classes that were forgotten one after the other stand one behind the other"
    )


def test_one_original_for_every_request(tmp_path):
    names = {
        Bench(Store(tmp_path), Run(batch_size=200)).compute(cell(request=request))["training"][
            "name"
        ]
        for request in (
            {"classes": [4]},
            {"classes": [1, 2]},
            {"share": 0.1},
            {"steps": [[3], [5]]},
        )
    }
    assert len(names) == 1


def test_given_weights_are_used_and_stand_in_the_name_of_the_cell(tmp_path):
    model, _ = start(NET, 10, seed=5)
    path = tmp_path / "given.safetensors"
    save_file(model.state_dict(), path)
    spec = load(find("table1a"), "smoke", {"original": [digest(path)]})
    assert spec.cells()[0].id != load(find("table1a"), "smoke").cells()[0].id
    found = Bench(Store(tmp_path), Run(batch_size=200), weights={"original": [path]}).compute(
        cell()
    )
    assert (
        found["training"] == {"weights": "given.safetensors", "seconds": 0.0}
        and not (tmp_path / "networks").exists()
    )
    with pytest.raises(UsageError, match="cannot be read"):
        digest(tmp_path / "none.safetensors")
    save_file({"x": torch.zeros(2)}, path)
    with pytest.raises(ModelError):
        Bench(Store(tmp_path), Run(), weights={"original": [path]}).compute(cell())


def test_given_retrained_weights_do_not_serve_several_requests():
    with pytest.raises(UsageError, match="--retrained is one model"):
        load(find("incremental"), "smoke", {"retrain": ["0" * 64]})


def test_tuning_happens_once_for_all_seeds_and_reads_no_test_data(tmp_path, monkeypatch):
    from unspan.benchmark import trials

    seen = []
    real = trials.tune

    def watched(model, splits, kind, trials, run, given, **more):
        parts = [part for part in (splits.forget, splits.retain) if part is not None]
        seen.append([len(part) for part in parts])
        test = {
            bytes(x.numpy().tobytes())
            for part in (splits.test_forget, splits.test_retain)
            for x, _ in part
        }
        train = {bytes(x.numpy().tobytes()) for part in parts for x, _ in part}
        assert not test & train
        return real(model, splits, kind, trials, run, given, **more)

    monkeypatch.setattr(trials, "tune", watched)
    bench = Bench(Store(tmp_path), Run(batch_size=200))
    one, two = (
        bench.compute(cell(method="finetune", trials=2, tune_retain=400, seed=seed))
        for seed in (0, 1)
    )
    assert len(seen) == 1 and one["settings"] == two["settings"] and len(one["tuning"]) == 2
    assert seen[0][1] == 400 < len(bench._prepared.steps[0].retain), "trials see a part of it"
    assert {trial["rule"] for trial in one["tuning"]} == {"both"}
    (choice,) = (tmp_path / "choices").glob("*.json")
    assert json.loads(choice.read_text())["chosen"] in [
        trial["settings"] for trial in one["tuning"]
    ]


def test_methods_without_retained_data_are_tuned_without_any(tmp_path, monkeypatch):
    from unspan.benchmark import trials

    seen, real = [], trials.tune

    def watched(model, splits, *rest, **more):
        seen.append(splits.retain)
        return real(model, splits, *rest, **more)

    monkeypatch.setattr(trials, "tune", watched)
    found = Bench(Store(tmp_path), Run(batch_size=200)).compute(cell(method="esc", trials=2))
    assert seen == [None]
    assert {trial["rule"] for trial in found["tuning"]} == {"forget-only"}


def test_rows_of_networks_have_seeds_of_their_own_and_methods_start_from_the_first(tmp_path):
    files = {"original": ["a" * 64, "b" * 64], "retrain": ["c" * 64]}
    rows = {row.method: row for row in load(find("table1a"), "full", files).rows}
    assert [one.seed for one in rows["original"].cells] == [0, 1], "as many as files are given"
    assert [one.weights["original"][0] for one in rows["original"].cells] == ["a", "b"]
    assert [one.seed for one in rows["retrain"].cells] == [0]
    assert [one.seed for one in rows["esc"].cells] == [0, 1, 2]
    assert {one.weights["original"] for one in rows["esc"].cells} == {"a" * 64}
    trained_ = {row.method: row for row in load(find("table1a"), "full").rows}
    assert [one.seed for one in trained_["original"].cells] == [0, 1, 2]
    bench = Bench(Store(tmp_path), Run(batch_size=200))
    stories = [
        bench.compute(cell(method=method, seed=seed))["training"]["name"]
        for method, seed in (("original", 0), ("original", 1))
    ]
    assert len(set(stories)) == 2


def test_cells_of_before_keep_their_names():
    plain, capped = cell(method="esc", trials=2), cell(method="esc", trials=2, tune_retain=50)
    assert plain.id != capped.id
    known = packed.read(Path(__file__).parents[3] / "results" / "bench")[1]
    assert known and all(Cell(**one["cell"]).id == name for name, one in known.items())
