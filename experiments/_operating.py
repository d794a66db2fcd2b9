"""Models of which the truth is known, and what every attack reads of them, for
`experiments/operating_characteristics.py`.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from _networks import SHARED, data
from cifar10_seeds import name_of
from membership import Digits, network
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import TensorDataset

import unspan
from unspan.auditing import views
from unspan.auditing.attack_split import Parts, parts
from unspan.auditing.collect import collect
from unspan.auditing.controls import head_edit
from unspan.auditing.readers import OVER_VIEWS
from unspan.auditing.reference import random_weights
from unspan.auditing.single_samples import sample_attack
from unspan.auditing.subjects import Subject, subject
from unspan.auditing.suite import class_attacks, group_attacks, view_attacks
from unspan.data.request import Request
from unspan.methods import ESC, LEACE, Bake, Method, Resample
from unspan.metrics.outputs import Outputs
from unspan.metrics.score import Reading
from unspan.run import Run
from unspan.zoo import AllCNN

sys.path.append(str(Path(__file__).resolve().parents[1]))
from examples import digits  # noqa: E402 - beside this folder, so found only now

UNTOUCHED, EDITED, RETRAINED, RANDOM = (
    "untouched",
    "head edited",
    "retrained, another seed",
    "random weights",
)
METHODS: dict[str, Method] = {
    "ESC": ESC(rank=1),
    "LEACE": LEACE(),
    "resample": Resample(),
    "bake": Bake(),
}
SEEDS = range(1, 6)  # of retrained networks
Attacked = Mapping[str, Sequence[list[Reading]]]
"""What every attack reads of each subject; several networks where seeds differ."""


@dataclass(frozen=True)
class Bench:
    """A request of a class.

    Attributes:
        name: of the data.
        request: with test samples.
        original: the network that learned all of it.
        retrained: networks that never saw the class.
        label: of the class.
        classes: in all.
    """

    name: str
    request: Request
    original: nn.Module
    retrained: Sequence[nn.Module]
    label: int
    classes: int = 10


def digits_bench() -> Bench:
    """Digits, class 3; networks are trained here, in seconds."""
    splits = digits.data()
    images, labels = digits.tensors(splits["train"])
    rest = labels != digits.FORGOTTEN
    return Bench(
        "digits",
        Request.by_class(splits["train"], digits.FORGOTTEN).with_test(splits["test"]),
        digits.trained(images, labels),
        [digits.trained(images[rest], labels[rest], seed=seed) for seed in SEEDS],
        digits.FORGOTTEN,
    )


def cifar10_bench(folder: Path, label: int = 4) -> Bench:
    """CIFAR-10 (JPEG copy), deer; networks that are given, and seeds of `cifar10_seeds.py`.

    Args:
        folder: where the seeds are.
        label: of the forgotten class.
    """
    splits = {name: TensorDataset(*part) for name, part in data("cifar10").items()}
    given = SHARED / "checkpoints"
    seeds = [folder / f"{name_of(label, seed)}.safetensors" for seed in SEEDS]
    weights = [given / "allcnn-cifar10-without-deer.safetensors", *seeds]
    return Bench(
        "cifar10",
        Request.by_class(splits["train"], label).with_test(splits["test"]),
        _allcnn(given / "allcnn-cifar10-original.safetensors"),
        [_allcnn(path) for path in weights if path.is_file()],
        label,
    )


def _allcnn(path: Path) -> nn.Module:
    model = AllCNN()
    model.load_state_dict(load_file(path))
    return model.eval()


def class_readings(bench: Bench, folder: Path) -> Attacked:
    """What every attack of an audit reads of each subject of a class request.

    Args:
        bench: models and data.
        folder: outputs and readings are kept here, so that a run that was stopped goes on.
    """
    given = parts(bench.request)
    run = Run(batch_size=250)
    shown = next(iter(given.test_forget))[0][None].repeat(2, *[1] * 3)

    def opened(net: nn.Module) -> Subject:
        return subject("model", net, shown)

    def kept(name: str, build: Callable[[], list[Reading]]) -> list[Reading]:
        place = folder / f"{bench.name}-{name.replace(' ', '-').replace(',', '')}.pickle"
        if not place.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(pickle.dumps(build()))
            print(f"{bench.name}: {name} attacked", flush=True)
        found: list[Reading] = pickle.loads(place.read_bytes())  # noqa: S301 - written here
        return found

    def attacked(net: nn.Module, edited: bool = False) -> list[Reading]:
        fit, test, *several = _outputs(opened(net), given, run, folder / "cache")
        if edited:
            fit, test, *several = (head_edit(x, [bench.label]) for x in (fit, test, *several))
        found = class_attacks(fit, test, 0, lambda stage: None)
        return found + view_attacks(*several, 0, by_class=True)

    def attacked_after(method: Method) -> list[Reading]:
        made = unspan.erase(
            bench.original, bench.request, method, run, measure=False, max_drop=None
        )
        return attacked(made.model)

    found = {
        UNTOUCHED: [kept(UNTOUCHED, lambda: attacked(bench.original))],
        EDITED: [kept(EDITED, lambda: attacked(bench.original, edited=True))],
    }
    for name, method in METHODS.items():
        found[name] = [kept(name, partial(attacked_after, method))]
    found[RETRAINED] = [
        kept(f"retrained {number}", partial(attacked, net))
        for number, net in enumerate(bench.retrained)
    ]
    fresh = random_weights(bench.original, 1)
    found[RANDOM] = [kept(RANDOM, lambda: attacked(fresh))]
    return found


def _outputs(one: Subject, given: Parts, run: Run, cache: Path) -> tuple[Outputs, ...]:
    """Outputs on what the attacker knows and is judged on, then the same over ten views."""
    known, judged = (given.fit_forget, given.fit_retain), (given.test_forget, given.test_retain)
    found = [collect([one], *part, run, cache, "")[0]["model"] for part in (known, judged)]
    for part, counts in ((known, views.KNOWN), (judged, views.JUDGED)):
        few = [views.some(data, count) for data, count in zip(part, counts, strict=True)]
        found.append(collect([one], *few, run, cache, "", OVER_VIEWS)[0]["model"])
    return tuple(found)


@dataclass(frozen=True)
class SampleReadings:
    """What attacks read of one subject of a sample request.

    Attributes:
        group: attacks that tell the samples from the rest, on held-out ones.
        members: membership attacks on the original, the subject and the retrained networks, with
            each choice of these; nothing where they could not be run.
    """

    group: list[Reading]
    members: Mapping[tuple[int, ...], list[list[Reading]]]


def sample_readings(choices: Sequence[tuple[int, ...]]) -> dict[str, list[SampleReadings]]:
    """The same for 200 single digits that a network learned by heart.

    A head cannot be edited for single samples, and LEACE, `resample` and `bake` erase what samples
    have in common, so these are not among the subjects.

    Args:
        choices: sets of places among the retrained networks, the references of a verdict.
    """
    all_digits = Digits()
    seen = all_digits.part(all_digits.forget, all_digits.retain)
    rest = all_digits.part(all_digits.retain)
    original = network(seen, 0)
    never = [network(rest, seed) for seed in SEEDS]
    request = Request(
        forget=TensorDataset(*all_digits.part(all_digits.forget)), retain=TensorDataset(*rest)
    )
    esc = unspan.erase(original, request, ESC(rank=1), measure=False, max_drop=None)
    subjects = {
        UNTOUCHED: [original],
        "ESC": [esc.model],
        "fine-tuned": [network(rest, 9, start=original)],
        RETRAINED: never,
        RANDOM: [random_weights(original, 1)],
    }
    split = {
        name: [_sample_outputs(all_digits, net) for net in nets] for name, nets in subjects.items()
    }
    before = split[UNTOUCHED][0]
    found: dict[str, list[SampleReadings]] = {}
    for name, several in split.items():
        found[name] = []
        for fit, test in several:
            members = {}
            for choice in choices:
                names = [f"reference {place}" for place in choice]
                others = {f"reference {place}": split[RETRAINED][place] for place in choice}
                both = {"before": before, "after": (fit, test)} | others
                fits, tests = ({key: one[i] for key, one in both.items()} for i in (0, 1))
                told = sample_attack(fits, tests, names, False)
                if told:
                    members[choice] = [[one.reading for one in own] for own in told.values()]
            group = group_attacks(fit, test, 0, lambda stage: None)
            found[name].append(SampleReadings(group, members))
    return found


@torch.no_grad()
def _sample_outputs(all_digits: Digits, net: nn.Module) -> tuple[Outputs, Outputs]:
    """Outputs on what the attacker knows and is judged on, the fifth that is held out."""
    held = all_digits.forget[::5]
    known = all_digits.forget[torch.arange(len(all_digits.forget)) % 5 != 0]
    found = []
    for asked, others in ((known, all_digits.retain), (held, all_digits.test)):
        images, labels = all_digits.part(asked, others)
        found.append(
            Outputs(
                features=unspan.features(net, images),
                logits=net(images),
                labels=labels,
                forget=torch.arange(len(labels)) < len(asked),
            )
        )
    return found[0], found[1]
