"""Which membership attack tells most, and can unlearned models be told from retrained ones?

Digits, 200 random training samples. Networks saw them (learned), or neither them nor anything else
in their place (retrained), or 200 other samples instead (swapped).

Attacks: AUC on networks that learned the samples, and on retrained ones, where 0.5 is right. RMIA
with its default a and with one chosen on another network; LiRA offline; LiRA online where no
network saw the unseen samples, and where swapped networks did.

Challenge: the score of the 2023 unlearning challenge with N networks a side, for retrained networks
of other seeds (what perfect unlearning gets), fine-tuned ones and untouched ones. Beside it KLoM,
the divergence of their margins, and what networks of one kind would get by chance.

    python experiments/membership.py
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from unspan.auditing.single_samples import sample_attack
from unspan.metrics.challenge import challenge_score, forgetting_quality
from unspan.metrics.klom import klom
from unspan.metrics.lira import lira_ratios, lira_scores, log_probability, scaled_logits
from unspan.metrics.outputs import Outputs
from unspan.metrics.rmia import rmia_leave_one_out
from unspan.metrics.score import auc_reading

ASKED = 200  # samples to forget, and as many that take their place
RETAINED = 700
EPOCHS = 30
TARGETS = 6  # networks that are attacked
MODELS = (1, 3, 5)  # others of each kind
Images = tuple[Tensor, Tensor]


def network(rows: Images, seed: int, start: nn.Module | None = None) -> nn.Module:
    """Trained on some digits, from random weights or from another network."""
    torch.manual_seed(seed)
    net = copy.deepcopy(start)
    if net is None:
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    net.train()
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    images, labels = rows
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
            optimiser.step()
    return net.eval()


class Digits:
    """All digits, and which of them are forgotten, take their place, are kept, or are for test."""

    def __init__(self) -> None:
        raw = load_digits()
        self.images = torch.tensor(raw.images, dtype=torch.float32)[:, None] / 16
        self.labels = torch.tensor(raw.target)
        order = torch.randperm(len(self.labels), generator=torch.Generator().manual_seed(123))
        sizes = [ASKED, ASKED, RETAINED, len(order) - 2 * ASKED - RETAINED]
        self.forget, self.instead, self.retain, self.test = order.split(sizes)

    def part(self, *rows: Tensor) -> Images:
        """Images and labels of some rows."""
        every = torch.cat(rows)
        return self.images[every], self.labels[every]

    @torch.no_grad()
    def answers(self, nets: Sequence[nn.Module]) -> Tensor:
        """Class scores `[networks, digits, 10]`."""
        return torch.stack([net(self.images).double() for net in nets])

    def sure(self, answers: Tensor) -> Tensor:
        """Scaled logits `[networks, digits]`."""
        return torch.stack([scaled_logits(one, self.labels) for one in answers])

    def accuracy(self, answers: Tensor, rows: Tensor) -> float:
        """Mean over networks."""
        return float((answers[:, rows].argmax(2) == self.labels[rows]).double().mean())

    def outputs(self, answers: Tensor, rows: Tensor, forget: bool) -> Outputs:
        """Of one network, for the attacks of an audit."""
        mark = torch.full((len(rows),), forget)
        labels = self.labels[rows]
        return Outputs(features=answers[rows], logits=answers[rows], labels=labels, forget=mark)


def area(members: Tensor, others: Tensor) -> float:
    return auc_reading("", members, others).value


def default_rmia(digits: Digits, target: Tensor, others: Tensor) -> float:
    """RMIA with the default a, class by class, from scaled logits."""
    found: tuple[list[Tensor], list[Tensor]] = ([], [])
    for label in range(10):
        parts = []
        for rows in (digits.forget, digits.test):
            own = rows[digits.labels[rows] == label]
            parts.append((log_probability(target[own]), log_probability(others[:, own])))
        for group, scores in zip(found, rmia_leave_one_out(*parts), strict=True):
            group.append(scores)
    return area(torch.cat(found[0]), torch.cat(found[1]))


def online(
    target: Tensor, saw: Tensor, never: Tensor, members: Tensor, others: Tensor, *, swapped: bool
) -> float:
    """AUC of online LiRA.

    Args:
        target: scaled logits of the attacked network.
        saw: of networks that saw the members.
        never: of networks that did not; they saw the others where `swapped`.
        members: rows.
        others: rows of samples that the target never saw.
        swapped: the two kinds of networks change places for the others.
    """
    models = torch.cat([saw, never])
    mask = (torch.arange(len(models)) < len(saw))[:, None]
    kinds = (mask, ~mask if swapped else mask)
    scores = [
        lira_ratios(target[rows], models[:, rows], kind.expand(-1, len(rows)))
        for rows, kind in zip((members, others), kinds, strict=True)
    ]
    return area(*scores)


def attacks(digits: Digits, answers: dict[str, Tensor]) -> list[dict[str, object]]:
    """Mean AUC of each attack over the attacked networks, by their kind and the number of
    others.
    """
    sure = {kind: digits.sure(one) for kind, one in answers.items()}
    rows: list[dict[str, object]] = []
    for models in MODELS:
        for kind in ("learned", "retrained"):
            found: dict[str, list[float]] = {}
            for target in range(TARGETS):
                others = slice(TARGETS, TARGETS + models)
                for name, value in _attacked(digits, answers, sure, kind, target, others).items():
                    found.setdefault(name, []).append(value)
            means = {name: statistics.mean(values) for name, values in found.items()}
            rows.append({"models": models, "target": kind, **means})
    return rows


def _attacked(
    digits: Digits,
    answers: dict[str, Tensor],
    sure: dict[str, Tensor],
    kind: str,
    target: int,
    others: slice,
) -> dict[str, float]:
    never = answers["retrained"][others]
    named = {"before": answers["learned"][-1], "after": answers[kind][target]}
    named |= {f"reference {i}": one for i, one in enumerate(never)}
    fit = {name: digits.outputs(one, digits.forget, True) for name, one in named.items()}
    test = {name: digits.outputs(one, digits.test, False) for name, one in named.items()}
    references = [name for name in named if name.startswith("reference")]
    chosen, offline = sample_attack(fit, test, references, by_class=False)["after"]
    own, saw = sure[kind][target], sure["learned"][others]
    unseen, swapped = sure["retrained"][others], sure["swapped"][others]
    forget, instead = digits.forget, digits.instead
    apart = [
        lira_scores(own[rows], one[:, rows]) for rows, one in ((forget, swapped), (instead, saw))
    ]
    return {
        "RMIA, default a": default_rmia(digits, own, unseen),
        "RMIA, chosen a": chosen.reading.value,
        "LiRA, offline": offline.reading.value,
        "LiRA, online, unseen by all": online(own, saw, unseen, forget, digits.test, swapped=False),
        "LiRA, offline, swapped": area(*apart),
        "LiRA, online, swapped": online(own, saw, swapped, forget, instead, swapped=True),
    }


def challenge(digits: Digits, nets: dict[str, list[nn.Module]]) -> list[dict[str, object]]:
    """The score of each kind of networks against retrained ones."""
    answers = {kind: digits.answers(one) for kind, one in nets.items()}
    truth = answers["retrained"]
    rows: list[dict[str, object]] = []
    for kind in ("retrained, other seeds", "fine-tuned", "untouched"):
        sure = [digits.sure(one)[:, digits.forget] for one in (answers[kind], truth)]
        quality = forgetting_quality(*sure)
        kept, tested = (
            (digits.accuracy(answers[kind], rows), digits.accuracy(truth, rows))
            for rows in (digits.retain, digits.test)
        )
        rows.append(
            {
                "networks": kind,
                "models": quality.models,
                "forgetting quality": quality.value,
                "retain ratio": kept[0] / kept[1],
                "test ratio": tested[0] / tested[1],
                "score": challenge_score(quality.value, kept, tested),
                **divergence(*sure),
            }
        )
    return rows


def divergence(sure: Tensor, truth: Tensor) -> dict[str, float]:
    """KLoM of the margins `[N, n]` of two kinds of networks, and of two kinds that are one."""
    found = klom(sure, truth)
    return {
        "KLoM": found.mean,
        "KLoM, 95 %": found.tail,
        "KLoM of equal networks": found.null_mean,
        "KLoM of equal networks, 95 %": found.null_tail,
    }


def table(rows: Sequence[dict[str, object]]) -> str:
    """Markdown."""
    head = list(rows[0])
    lines = [head, ["---"] * len(head)]
    for row in rows:
        lines.append([f"{one:.2f}" if isinstance(one, float) else str(one) for one in row.values()])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def main() -> None:
    """Train, attack, score, and write `membership.json` and `membership.md`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=int, default=64, help="networks a side of the challenge")
    parser.add_argument("--out", type=Path, default=Path("results"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    digits = Digits()
    kept = digits.part(digits.retain)
    whole = digits.part(digits.retain, digits.forget)
    other = digits.part(digits.retain, digits.instead)
    few = range(TARGETS + max(MODELS) + 1)
    n = range(given.models)
    learned = [network(whole, seed) for seed in n]
    retrained = [network(kept, 10_000 + seed) for seed in n]
    swapped = [network(other, 20_000 + seed) for seed in few]
    nets = {
        "untouched": learned,
        "retrained": retrained,
        "retrained, other seeds": [network(kept, 30_000 + seed) for seed in n],
        "fine-tuned": [network(kept, 40_000 + seed, learned[seed]) for seed in n],
    }
    answers = {
        "learned": digits.answers([learned[i] for i in few]),
        "retrained": digits.answers([retrained[i] for i in few]),
        "swapped": digits.answers(swapped),
    }
    found = {"attacks": attacks(digits, answers), "challenge": challenge(digits, nets)}
    (given.out / "membership.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    text = "\n".join(table(one) for one in found.values())
    (given.out / "membership.md").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
