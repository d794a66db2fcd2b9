"""Pictures apart from scores, the estimate, silence, settings in the report, and the export."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from unspan.benchmark import packed
from unspan.benchmark.cell import Bench
from unspan.benchmark.compact import compacted, weight_changes
from unspan.benchmark.estimates import cost, estimate, state
from unspan.benchmark.export import export
from unspan.benchmark.measure import beside
from unspan.benchmark.report import filled, report
from unspan.benchmark.runner import record, work
from unspan.benchmark.spec import load
from unspan.benchmark.store import Store
from unspan.errors import UsageError
from unspan.metrics.outputs import Outputs
from unspan.metrics.rmia import rmia_scores
from unspan.run import Run

GRID = """
view = ["methods", "tsne"]
seeds = [0]
[[pair]]
data = "digits"
model = "python:unspan.zoo:wide_digits"
request = { classes = [4] }
train = { lr = 3e-3, epochs = 2, optimiser = "adam", weight_decay = 0.0 }
[[method]]
name = "original"
[[method]]
name = "retrain"
[[method]]
name = "esc"
[budget.tuned]
trials = 2
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A folder with the cells of the grid, made without pictures."""
    root = tmp_path_factory.mktemp("parts")
    (root / "grid.toml").write_text(GRID)
    spec, told = load(root / "grid.toml", "tuned"), []
    store = Store(root / "out")
    record(store, spec, "unspan bench grid.toml")
    assert work(spec, Bench(store, Run(batch_size=200)), told.append).failed == 0
    return spec, store, told


def test_pictures_are_added_to_cells_and_no_score_is_computed_twice(ran):
    spec, store, _ = ran
    more = replace(spec, pictures=("tsne", "gradcam"))
    cells = {path: path.read_bytes() for path in (store.root / "cells").glob("*.json")}
    assert [state(store, one, more.pictures) for one in more.cells()] == ["pictures"] * 3
    told = []
    tally = work(more, Bench(store, Run(batch_size=200)), told.append)
    assert (tally.done, tally.failed) == (3, 0) and len(told) == 6
    assert cells == {path: path.read_bytes() for path in (store.root / "cells").glob("*.json")}
    work(more, Bench(store, Run(batch_size=200)), told.append)
    assert len(told) == 6, "what is there is not drawn again"
    (row, *_) = filled(store, store.read("spec", "grid.tuned"))
    assert {len(row.results[0]["pictures"][kind]) for kind in ("tsne", "gradcam")} == {599, 4}
    lines = [path.name for path in store.pack()]
    assert lines == ["grid.tuned.jsonl", "grid.tuned.jsonl", "other.jsonl"], "tsne is shown"
    fresh = packed.read_pictures(store.root)
    assert len(fresh) == 6 and "gradcam" not in (store.root / "tables/grid.tuned.jsonl").read_text()


def test_old_cells_with_pictures_inside_are_shown_and_complete(ran, tmp_path):
    spec, store, _ = ran
    cell = spec.cells()[0]
    old = store.read("cell", cell.id) | {"pictures": {"tsne": [[0.0, 1.0, 4]]}}
    other = Store(tmp_path)
    other.write("cell", cell.id, old)
    assert state(other, cell, ("tsne",)) == "done" and state(other, cell) == "done"


def test_the_estimate_tells_what_it_knows_and_what_not(ran, tmp_path):
    spec, store, _ = ran
    assert cost(estimate(spec, store)) == "0 of 3 cells to compute."
    unknown = cost(estimate(spec, Store(tmp_path)))
    assert unknown.startswith("3 of 3 cells to compute: the time of 3 is not known yet (about 14 ")
    seeds = replace(
        spec, rows=tuple(replace(row, cells=(replace(row.cells[0], seed=7),)) for row in spec.rows)
    )
    assert "3 of 3 cells to compute: about " in cost(estimate(seeds, store))


def test_a_network_that_was_trained_in_its_cell_gives_the_pace_of_its_epochs(tmp_path):
    (tmp_path / "grid.toml").write_text(GRID)
    spec, store = load(tmp_path / "grid.toml", "tuned"), Store(tmp_path)
    original, retrain = spec.cells()[:2]
    done = {"cell": original.record(), "steps": [], "training": {"seconds": 40.0}}
    store.write("cell", original.id, done | {"seconds_in_all": 50.0})
    found = {one.cell.id: one.seconds for one in estimate(spec, store)}
    assert found[retrain.id] == pytest.approx(50.0), "as many epochs and looks as the original"
    store.write("cell", original.id, done | {"seconds_in_all": 3.0})
    found = {one.cell.id: one.seconds for one in estimate(spec, store)}
    assert found[retrain.id] == pytest.approx(5.0), "the network was loaded: three looks took 3 s"


@pytest.mark.parametrize("method", ["esc", "original"])
def test_pictures_that_were_never_drawn_are_said_to_be_that(ran, tmp_path, method):
    spec, store, _ = ran
    other = Store(tmp_path)
    for cell in spec.cells():
        other.write("cell", cell.id, store.read("cell", cell.id))
    more = replace(spec, pictures=("tsne",))
    told = cost(estimate(more, other))
    assert "pictures of 3 is not known yet: no picture of their kind was drawn here" in told
    assert "passes" not in told and "no cell of" not in told
    (one,) = [cell for cell in spec.cells() if cell.method == method]
    drawn = {"cell": one.id, "kind": "tsne", "content": [], "seconds": 2.0}
    other.write("picture", f"{one.id}.tsne", drawn)
    assert "2 of 3 cells to compute: about " in cost(estimate(more, other))


def test_a_method_that_never_ran_is_estimated_from_methods_and_the_guess_is_said(ran, tmp_path):
    spec, _, _ = ran
    store = Store(tmp_path)
    original, retrain, esc = spec.cells()
    network = {"cell": original.record(), "steps": [], "training": {"seconds": 5.0}}
    store.write("cell", original.id, network | {"seconds_in_all": 5.0})
    steps = [{"seconds": 1.0}]
    store.write("cell", esc.id, {"cell": esc.record(), "steps": steps, "seconds_in_all": 90.0})
    (tmp_path / "grid.toml").write_text(GRID)
    leace = load(tmp_path / "grid.toml", "tuned", added=["leace"])
    found = {one.row.label: one for one in estimate(leace, store)}
    assert found["leace"].guessed and found["leace"].seconds >= 0.5 * 90
    assert found["retrain"].guessed and found["retrain"].seconds == pytest.approx(5.0)
    told = cost(estimate(leace, store))
    assert "(guessed from other rows for retrain, leace, of which no cell ran here yet)" in told
    esc_again = replace(esc, seed=7)
    again = replace(spec, rows=(replace(spec.rows[2], cells=(esc_again,)),))
    assert "guessed" not in cost(estimate(again, store))


def test_trials_and_settings_stand_in_the_line_and_in_the_report(ran):
    spec, store, told = ran
    tuning = store.read("cell", spec.rows[2].cells[0].id)["tuning"]
    best = max(tuning, key=lambda trial: trial["score"])
    assert f"the best of 2 trials ({100 * best['score']:.1f} % on validation samples)" in told[2]
    report(store.root)
    text = (store.root / "report/grid.tuned-methods.md").read_text()
    block = text.partition("Settings and trials")[2].partition("</details>")[0]
    assert "| esc | 2 |" in block and "HM of forgetting" in block
    assert all(f"{100 * trial['score']:.1f}" in block for trial in tuning)
    assert "| original |" not in block


def test_a_written_cell_has_as_many_digits_as_a_measurement_and_the_cell_as_given():
    result = {"cell": {"settings": {"lr": 0.1234567891}}, "value": 100 / 3, "rows": [(1 / 7, 2)]}
    found = compacted(result)
    assert found == {
        "cell": result["cell"],
        "value": 33.33333,
        "rows": [[0.1428571, 2]],
    }
    assert len(json.dumps(found)) < len(json.dumps(result))


def test_weights_of_old_and_new_cells_are_the_same(ran):
    spec, store, _ = ran
    beside = store.read("cell", spec.rows[1].cells[0].id)["steps"][-1]["beside"]
    old = [
        {"part": part, "value": one, "mean": two} for part, (one, two) in beside["weights"].items()
    ]
    assert weight_changes({"weights": old}) == weight_changes(beside) != {}


@pytest.mark.parametrize(("classes", "kept"), [(20, True), (21, False)])
def test_cosines_are_kept_of_as_many_classes_as_a_figure_can_show(classes, kept):
    labels = torch.arange(3 * classes) % classes
    features = torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(0))
    logits = torch.randn(len(labels), classes)
    one = Outputs(features=features, logits=logits, labels=labels, forget=labels == 0)
    model = torch.nn.Linear(4, classes)
    found = beside(one, one, model, model, None, [])
    assert ("cosines" in found) is kept and found["AUS"]["value"] is not None


def test_an_export_reproduces_the_scores_and_fits_other_programs(ran, tmp_path):
    spec, store, _ = ran
    told = []
    (folder,) = export(spec, Bench(store, Run(batch_size=200)), tmp_path, told.append)
    about = json.loads((folder / "about.json").read_text())
    split = np.load(folder / "split.npz")
    assert {one.partition("/")[0] for one in about["arrays"]} == {
        one.name for one in folder.iterdir() if one.name != "about.json"
    }
    assert all(row["accuracy"].keys() == {"D_f", "D_r", "D_ft", "D_rt"} for row in about["models"])
    sizes = [len(split[name]) for name in about["order of rows"]]
    for row in about["models"]:
        for name, value in row["recorded"].items():
            assert value == pytest.approx(row["accuracy"][name], abs=1e-4)
    assert not set(split["forget"]) & set(split["retain"])
    assert set(split["validation_forget"]) < set(split["forget"])
    assert set(split["validation_retain"]) < set(split["retain"])
    found = {row["method"]: row["cell"] for row in about["models"]}
    outputs = {name: np.load(folder / f"outputs/{cell}.npz") for name, cell in found.items()}
    assert all(len(one["logits"]) == sum(sizes) for one in outputs.values())
    signals = np.load(folder / f"signals/{found['esc']}.npz")
    labels = torch.from_numpy(outputs["esc"]["labels"])
    p = torch.from_numpy(outputs["esc"]["logits"]).double().softmax(1)
    own = p.gather(1, labels[:, None])[:, 0]
    rest = p.scatter(1, labels[:, None], 0.0).sum(1)
    np.testing.assert_allclose(signals["scaled_logit"], own.log() - rest.log(), atol=1e-6)
    np.testing.assert_allclose(signals["loss"], -own.log(), atol=1e-6)

    # Privacy Meter: columns are the target, its pair, the references
    meter = folder / "privacy-meter" / found["esc"]
    rows, unseen = (np.load(meter / f"signals/rmia_signals{end}.npy") for end in ("", "_pop"))
    members = np.load(meter / "models/memberships.npy")
    assert members.shape == rows.T.shape and members[:2].any()
    assert len(unseen) == sizes[2] // 2 and len(rows) + len(unseen) == sizes[0] + sizes[2]
    logs = [torch.from_numpy(part).log() for part in (rows, unseen)]
    ours = rmia_scores(logs[0][:, 0], logs[0][:, 2:].T, logs[1][:, 0], logs[1][:, 2:].T)
    mean = [(1.3 * part[:, 2:].mean(1) + 0.7) / 2 for part in (rows, unseen)]
    ratio = [part[:, 0] / one for part, one in zip((rows, unseen), mean, strict=True)]
    theirs = (ratio[0][:, None] / ratio[1] > 1).mean(1)
    np.testing.assert_allclose(theirs, ours, atol=2 / len(unseen))

    # each unseen sample is audited or of the population, and about.json says which is which
    audited, population = about["privacy-meter"].values()
    assert not set(audited) & set(population)
    assert sorted(audited + population) == sorted(split["test_forget"])
    position = {one: place for place, one in enumerate(split["test_forget"])}
    tested = own[sizes[0] + sizes[1] :]
    for column, places in ((rows[sizes[0] :, 0], audited), (unseen[:, 0], population)):
        expected = tested[[position[one] for one in places]]
        np.testing.assert_allclose(column, expected, atol=1e-6)

    # LeakPro: logits of the audited rows, members first
    leakpro = folder / "leakpro" / found["esc"]
    audit = np.load(leakpro / "audit.npz")
    target = np.load(leakpro / "target.npy")
    np.testing.assert_array_equal(target[audit["in_members"]], outputs["esc"]["logits"][: sizes[0]])
    assert len(audit["out_members"]) == len(audit["test_indices"]) == sizes[2]
    assert not audit["in_mask"].any() and len(np.load(leakpro / "sm_0.npy")) == len(target)


def without(spec, method):
    return replace(spec, rows=tuple(row for row in spec.rows if row.method != method))


@pytest.mark.parametrize("method", ["original", "retrain", "esc"])
def test_an_export_says_which_forms_it_leaves_out_and_why(ran, tmp_path, method):
    spec, store, _ = ran
    told = []
    bench = Bench(store, Run(batch_size=200))
    (folder,) = export(without(spec, method), bench, tmp_path, told.append)
    (said,) = [line for line in told if line.startswith("Left out: leakpro/ and privacy-meter/")]
    assert ("of a method" if method == "esc" else f"'{method}'") in said
    about = json.loads((folder / "about.json").read_text())
    there = {path.name for path in folder.iterdir() if path.name != "about.json"}
    assert {one.partition("/")[0] for one in about["arrays"]} == there
    assert about["left out"].keys() == {"leakpro", "privacy-meter"}


def test_a_second_export_runs_no_method_again_and_a_broken_file_alone(ran, tmp_path, monkeypatch):
    spec, store, _ = ran
    (folder,) = export(spec, Bench(store, Run(batch_size=200)), tmp_path, lambda line: None)
    before = {
        path: path.read_bytes() for path in folder.rglob("*") if path.suffix in (".npy", ".json")
    }
    outputs = {path: dict(np.load(path)) for path in folder.rglob("outputs/*.npz")}
    made = []
    models = Bench.models
    monkeypatch.setattr(
        Bench, "models", lambda bench, cell: made.append(cell.method) or models(bench, cell)
    )
    told = []
    export(spec, Bench(store, Run(batch_size=200)), tmp_path, told.append)
    assert made == [] and "3 were exported before" in told[0]
    assert all(path.read_bytes() == content for path, content in before.items())
    broken = folder / f"outputs/{spec.rows[2].cells[0].id}.npz"
    broken.write_bytes(broken.read_bytes()[:-100])
    export(spec, Bench(store, Run(batch_size=200)), tmp_path, told.append)
    assert made == ["esc"] and any("1 are made again" in line for line in told)
    for path, arrays in outputs.items():
        fresh = np.load(path)
        assert all(np.array_equal(fresh[name], array) for name, array in arrays.items())


def test_an_export_says_that_networks_are_trained_again_where_none_is_kept(ran, tmp_path):
    spec, store, _ = ran
    shutil.copytree(store.root / "cells", tmp_path / "out/cells")
    told = []
    trained = without(spec, "esc")
    export(trained, Bench(Store(tmp_path / "out"), Run(batch_size=200)), tmp_path, told.append)
    assert told[0].startswith("2 models: 2 are made again")


def test_an_export_of_what_was_never_run_is_refused(ran, tmp_path):
    spec, _, _ = ran
    bench = Bench(Store(tmp_path / "empty"), Run(batch_size=200))
    with pytest.raises(
        UsageError, match=r"\d+ of \d+ cells .* were not computed .* Run unspan bench"
    ):
        export(spec, bench, tmp_path / "to", lambda line: None)
    assert not (tmp_path / "to").exists()


NOISY = """
import logging
import warnings
from dataclasses import dataclass
from typing import ClassVar

from unspan.methods import ESC


@dataclass(frozen=True)
class Noisy(ESC):
    name: ClassVar[str] = "noisy"

    def fit(self, context):
        warnings.warn("a library warns", FutureWarning, stacklevel=1)
        logging.getLogger("library").warning("and logs")
        return super().fit(context)
"""


def test_quiet_prints_nothing_and_errors_are_still_said(ran, tmp_path):
    spec, store, _ = ran
    (tmp_path / "noisy.py").write_text(NOISY)
    (tmp_path / "grid.toml").write_text(GRID.replace('"esc"', '"python:noisy.py:Noisy"'))
    command = [sys.executable, "-m", "unspan", "bench", str(tmp_path / "grid.toml"), "-q"]
    command += ["--out", str(store.root.parent / "quiet"), "--budget", "tuned"]
    one = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert (one.returncode, one.stdout, one.stderr) == (0, "", "")
    wrong = subprocess.run(
        [*command, "--data-root", "x", "--original", "none"],
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert wrong.returncode == 2 and wrong.stdout == "" and wrong.stderr.startswith("Error: ")
