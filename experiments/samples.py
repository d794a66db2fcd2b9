"""Single samples, or a person inside a class: which method removes what networks remember of them?

Small networks that remember (`_samples.py`). A request is of random samples of all classes, or of a
folder: a third of the nearest neighbours of one image in its class. Each original is erased from by
each method with its defaults, with settings for single samples, and tuned. Tuning sees the request
and held-out samples, never those that are reported. A cell is one network; what is there is not
computed again.

Membership: AUC of RMIA and LiRA on the forget samples against unseen ones, with retrained networks
as references. Relearned: half of the forget samples are trained on again, and the other half is
attacked. Compared: AUC of telling the forget samples from retained ones by the original and the
erased network. Every figure stands beside that of retrained networks.

    python experiments/samples.py                      # every cell that is missing, and the table
    python experiments/samples.py --case digits --form random
    python experiments/samples.py --table
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from _samples import AUDITED, CACHE, CASES, FORMS, Case, parts
from _samples_measures import ATTACKS, by_class, compared, goals, left_out, membership, one_more
from _samples_table import table
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import unspan
from unspan.artifact.receipt import versions
from unspan.erasure.choosing import default_settings
from unspan.erasure.remembering import remembered
from unspan.erasure.tuning import tune
from unspan.errors import UnspanError
from unspan.methods import Retrain, by_name, configured
from unspan.run import Run

TRIALS = 5
ORIGINALS = 3
RETRAINED = 5
RELEARN_STEPS, RELEARN_LR = 30, 1e-3
KEPT = 200  # retained samples that an attacker compares
BRIEF = {"epochs": 4}  # of tuned methods: about a tenth of the training
NAMES = ("neggrad-plus", "finetune", "scrub", "salun", "bad-teaching", "cf-k", "eu-k")
WITHOUT = ("esc", "neggrad", "random-labels")  # methods that read no retained data
Scores = dict[str, Tensor]


class Experiment:
    """One request on one data set."""

    def __init__(self, case: Case, form: str) -> None:
        self.case = case
        self.form = form
        self.parts = parts(case, form)
        self.folder = CACHE / f"{case.name}-{form}"
        self.folder.mkdir(parents=True, exist_ok=True)
        whole = zip(self.parts.retain.tensors, self.parts.forget.tensors, strict=True)
        self.whole = TensorDataset(*(torch.cat(pair) for pair in whole))
        half = len(self.parts.forget) // 2
        forget = self.parts.forget.tensors
        self.known = tuple(one[:half] for one in forget)
        self.rows: dict[str, tuple[Tensor, ...]] = {
            "forget": forget,
            "others": tuple(one[half:] for one in forget),
            "unseen": self.parts.unseen.tensors,
            "kept": tuple(one[:KEPT] for one in self.parts.retain.tensors),
            "test": self.parts.test.tensors,
        }

    @property
    def labels(self) -> Scores:
        return {name: rows[1] for name, rows in self.rows.items()}

    def cells(self) -> Iterator[tuple[str, str, int]]:
        """Names of the rows, how each is made, and seeds."""
        for seed in range(ORIGINALS):
            yield "original", "original", seed
        for seed in range(RETRAINED):
            yield "retrained", "retrained", seed
        for name in (*NAMES, *WITHOUT):
            for how in ("defaults", "single", "single without holdout", "tuned"):
                if not self.runs(name, how):
                    continue
                for seed in range(ORIGINALS):
                    yield f"{name}, {how}", how, seed

    def runs(self, name: str, how: str) -> bool:
        """Whether there is such a cell; defaults of more epochs than a training are left out."""
        kind = by_name(name)
        loop = kind().training
        if how == "defaults":
            return loop is None or loop.epochs < self.case.training.epochs
        if how != "tuned":
            return bool(kind.for_single(None, True))
        return bool(kind.search or kind.search_single)

    def run(self) -> None:
        """Make every cell that is missing; the first erasure of a process is slow, and not kept."""
        if all(self.path(label, seed).exists() for label, _, seed in self.cells()):
            return
        self.trained("retrained", 0)
        for label, how, seed in self.cells():
            path = self.path(label, seed)
            if path.exists():
                continue
            made = self.trained(how, seed) if how in ("original", "retrained") else None
            cell = made or self.erased(label, how, seed)
            torch.save(cell, path)
            print(self.case.name, self.form, label, seed, f"{cell['seconds']:.2f} s", flush=True)

    def path(self, label: str, seed: int) -> Path:
        return self.folder / f"{label.replace(', ', '-')}-{seed}.pt"

    def trained(self, kind: str, seed: int) -> dict[str, Any]:
        """A network that saw everything, or all but the request."""
        torch.manual_seed(seed)
        data = self.whole if kind == "original" else self.parts.retain
        request = unspan.Request(forget=self.parts.unseen, retain=data, kind="samples")
        seed += 0 if kind == "original" else 1000
        return self.carried_out(
            self.case.build(), request, Retrain(training=self.case.training), seed
        )

    def erased(self, label: str, how: str, seed: int) -> dict[str, Any]:
        """What a method makes of an original."""
        name = label.partition(",")[0]
        request = self.request(name)
        settings: dict[str, Any] = {}
        spent = 0.0
        if how.startswith("single"):
            retained = len(self.parts.retain)
            settings = dict(by_name(name).for_single(retained, how == "single"))
        try:
            if how == "tuned":
                settings, spent = self.tuned(name)
            method = configured(by_name(name), settings)
            cell = self.carried_out(self.original(seed), request, method, seed)
        except UnspanError as error:
            return {"error": str(error), "seconds": 0.0, "settings": settings}
        return cell | {"settings": settings, "tuning": spent}

    def request(self, name: str) -> unspan.Request:
        retain = None if name in WITHOUT else self.parts.retain
        return unspan.Request(
            forget=self.parts.forget,
            retain=retain,
            holdout=self.parts.holdout,
            kind="samples",
            num_classes=10,
        )

    def original(self, seed: int) -> nn.Module:
        return self.network(torch.load(self.path("original", seed), weights_only=True)["state"])

    def network(self, state: dict[str, Tensor]) -> nn.Module:
        net = self.case.build()
        net.load_state_dict(state)
        return net.eval()

    def tuned(self, name: str) -> tuple[dict[str, Any], float]:
        """The settings that trials on the first original chose, and what trying cost."""
        path = self.folder / f"tuned-{name}.json"
        if not path.exists():
            kind = by_name(name)
            brief = kind().training is not None and not kind.search_single
            given = BRIEF if brief else {}
            request = self.request(name)
            begun = time.process_time()
            _, trials = tune(
                self.original(0), request, kind, TRIALS, Run(batch_size=500), given,
                check_labels=False,
            )  # fmt: skip
            best = max(trials, key=lambda trial: trial.score)
            found = {
                "settings": dict(default_settings(kind, request)) | given | best.settings,
                "seconds": time.process_time() - begun,
                "score": best.score,
            }
            path.write_text(json.dumps(found), "utf-8")
        found = json.loads(path.read_text("utf-8"))
        return found["settings"], found["seconds"]

    def carried_out(
        self, net: nn.Module, request: unspan.Request, method: Any, seed: int
    ) -> dict[str, Any]:
        """Class scores, those after relearning, and processor seconds; weights where it is a
        network of its own."""
        begun = time.process_time()
        done = unspan.erase(
            net, request, method, Run(seed=seed, batch_size=500), check_labels=False, measure=False
        )
        seconds = time.process_time() - begun
        model = done.model.eval()
        cell: dict[str, Any] = {"seconds": seconds, "scores": self.scores(model, self.rows)}
        again = self.relearned(model)
        wanted = {part: self.rows[part] for part in ("others", "unseen")}
        cell["relearned"] = self.scores(again, wanted)
        if isinstance(method, Retrain):
            cell["state"] = model.state_dict()
        return cell

    @torch.no_grad()
    def scores(self, model: nn.Module, rows: dict[str, tuple[Tensor, ...]]) -> Scores:
        return {part: model(images).clone() for part, (images, _) in rows.items()}

    def relearned(self, model: nn.Module) -> nn.Module:
        """A copy that was trained on half of the forget samples again."""
        again = copy.deepcopy(model)
        optimiser = torch.optim.Adam(again.parameters(), lr=RELEARN_LR)
        images, labels = self.known
        for _ in range(RELEARN_STEPS):
            optimiser.zero_grad()
            nn.functional.cross_entropy(again(images), labels).backward()
            optimiser.step()
        return again.eval()

    def measured(self) -> dict[str, Any]:
        """All rows of the request, from the cells that are there."""
        found: dict[str, list[dict[str, Any]]] = {}
        for label, _, seed in self.cells():
            if self.path(label, seed).exists():
                cell = torch.load(self.path(label, seed), weights_only=True)
                found.setdefault(label, []).append(cell)
        retrained = self.of_retrained(found["original"], found["retrained"])
        rows = {"original": self.row(found["original"], found, 0.0)}
        rows |= {
            label: self.row(cells, found, retrained["seconds"])
            for label, cells in found.items()
            if label not in ("original", "retrained") and len(cells) == ORIGINALS
        }
        for row in rows.values():
            if "error" not in row:
                row["missed"] = goals(row, retrained)
        return {
            "forget": len(self.parts.forget),
            "unseen": len(self.parts.unseen),
            "test": len(self.parts.test),
            "remembered": self.asked_before(),
            "retrained": retrained,
            "rows": rows,
        }

    def asked_before(self) -> list[dict[str, Any]]:
        """What the attack without other networks says of each original."""
        request = self.request("retrain")
        found = [
            remembered(self.original(seed), request, Run(batch_size=500))
            for seed in range(ORIGINALS)
        ]
        return [one.to_dict() for one in found if one is not None]

    def of_retrained(
        self, originals: list[dict[str, Any]], cells: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """The same figures of retrained networks, and where one more would lie."""
        scores, before = [one["scores"] for one in cells], originals[0]["scores"]
        again = [one["relearned"] for one in cells]
        each = left_out(scores, self.labels, "forget")
        later = left_out(again, self.labels, "others")
        classes = [by_class(one["test"], self.labels["test"]) for one in scores]
        told = [compared(before, one, self.labels) for one in scores]
        return {
            "networks": len(cells),
            "seconds": statistics.mean(one["seconds"] for one in cells),
            "lowest": [min(column) for column in zip(*classes, strict=True)],
            "highest": [max(column) for column in zip(*classes, strict=True)],
            "test": statistics.mean(map(statistics.mean, classes)),
            "compared": {"auc": statistics.mean(told), "range": one_more(told)},
            **{
                name: _ranged([one[place].value for one in each])
                for place, name in enumerate(ATTACKS)
            },
            **{
                f"{name}, relearned": _ranged([one[place].value for one in later])
                for place, name in enumerate(ATTACKS)
            },
        }

    def row(
        self, cells: list[dict[str, Any]], found: dict[str, list[dict[str, Any]]], whole: float
    ) -> dict[str, Any]:
        """Means over the originals."""
        errors = [cell["error"] for cell in cells if "error" in cell]
        if errors:
            return {"error": errors[0], "settings": cells[0]["settings"]}
        row: dict[str, Any] = {"networks": len(cells), "settings": cells[0].get("settings", {})}
        for part, key, suffix in (
            ("forget", "scores", ""),
            ("others", "relearned", ", relearned"),
        ):
            never = [one[key] for one in found["retrained"]]
            read = [membership(cell[key], never, self.labels, part) for cell in cells]
            for place, name in enumerate(ATTACKS):
                own = [one[place] for one in read if one]
                if own:
                    row[name + suffix] = _averaged(own)
        tested = [by_class(cell["scores"]["test"], self.labels["test"]) for cell in cells]
        row["classes"] = [statistics.mean(column) for column in zip(*tested, strict=True)]
        row["test"] = statistics.mean(row["classes"])
        row["seconds"] = statistics.mean(cell["seconds"] for cell in cells)
        row["share"] = row["seconds"] / whole if whole else 0.0
        row["share with trials"] = row["share"] + (
            cells[0].get("tuning", 0.0) / whole if whole else 0.0
        )
        if whole:
            told = [
                compared(before["scores"], cell["scores"], self.labels)
                for before, cell in zip(found["original"], cells, strict=False)
            ]
            row["compared"] = {"auc": statistics.mean(told)}
        return row


def _ranged(values: list[float]) -> dict[str, Any]:
    return {"auc": statistics.mean(values), "range": one_more(values), "each": values}


def _averaged(readings: list[Any]) -> dict[str, Any]:
    """Mean over networks, with the mean ends of their 95 % intervals."""
    ends = [one.interval() for one in readings]
    return {
        "auc": statistics.mean(one.value for one in readings),
        "low": statistics.mean(one[0] for one in ends),
        "high": statistics.mean(one[1] for one in ends),
        "each": [one.value for one in readings],
    }


def exported(experiment: Experiment, folder: Path) -> None:
    """Weights of an original and of retrained networks, for the command line."""
    wanted = [("original", 0, "original")]
    wanted += [("retrained", seed, f"retrained-{seed}") for seed in range(RETRAINED)]
    for kind, seed, name in wanted:
        state = experiment.trained(kind, seed)["state"]
        state = {key: value.contiguous() for key, value in state.items()}
        save_file(state, folder / f"{name}.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--form", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--table", action="store_true", help="only the table of what is there")
    parser.add_argument("--export", type=Path, help="write networks for samples_audit.sh and stop")
    parser.add_argument("--json", type=Path, default=Path("results/samples.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if args.export is not None:
        exported(Experiment(CASES[AUDITED], "random"), args.export)
        return
    todo = [(case, form) for form in args.form for case in args.case if (case, form) not in LEFT]
    for case, form in todo if not args.table else ():
        Experiment(CASES[case], form).run()
    found = {}
    for case in CASES:
        for form in FORMS:
            if (CACHE / f"{case}-{form}" / LAST).exists():
                found[f"{case}, {form}"] = Experiment(CASES[case], form).measured()
    result = {"versions": versions(), "requests": found}
    args.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    args.json.with_suffix(".md").write_text(table(result), "utf-8")


LAST = f"neggrad-plus-single-{ORIGINALS - 1}.pt"  # of a request that is in the table
LEFT = {("digits", "folder")}  # too few digits of one class


if __name__ == "__main__":
    main()
