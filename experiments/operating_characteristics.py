"""How often each word of an audit is said of models of which the truth is known.

Requests of a class: digits (class 3) and CIFAR-10 (deer). Subjects: the original, the original with
an edited head, ESC, LEACE, resample, bake, a network retrained without the class by another seed,
and random weights. Requests of samples: 200 digits. Attacks are fitted once for each model. Then
test samples are drawn anew, and retrained networks at random from those that are not the subject;
each time the verdict rule is asked. One JSON for each number of references and of test samples, and
a table of all.

CIFAR-10 needs `../shared` and the networks of `cifar10_seeds.py`, and some minutes for each model.

    python experiments/operating_characteristics.py --draws 1000
    python experiments/operating_characteristics.py --data cifar10
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from _operating import (
    EDITED,
    RETRAINED,
    SEEDS,
    UNTOUCHED,
    Attacked,
    SampleReadings,
    cifar10_bench,
    class_readings,
    digits_bench,
    sample_readings,
)
from torch import Tensor

from unspan.audit_record.vocabulary import Verdict
from unspan.auditing.levels import chance_bound
from unspan.auditing.member_rule import judge_members
from unspan.auditing.verdict_rule import overall, together
from unspan.metrics.score import Reading, share_interval

DATA = ("digits", "cifar10", "digit-samples")
REFERENCES = (1, 3)
SIZES = {
    "digits": (20, None),
    "cifar10": (50, 200, None),
    "digit-samples": (None,),
}  # forgotten test samples; None takes all
CLASSES = 10
WORDS = [str(word) for word in Verdict]


@dataclass(frozen=True)
class Row:
    """How often each word was said, for one number of references and of test samples.

    Attributes:
        data: and request.
        references: retrained networks of each verdict.
        networks: retrained networks in all.
        samples: forgotten test samples.
        draws: verdicts for each subject.
        shares: of the draws, by subject and word.
    """

    data: str
    references: int
    networks: int
    samples: int
    draws: int
    shares: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Goal:
    """How often a word should be said of a subject.

    Attributes:
        subject: of which the truth is known.
        words: that count together.
        bound: share of the draws.
        at_most: it may not be said more often; otherwise not less often.
    """

    subject: str
    words: tuple[Verdict, ...]
    bound: float
    at_most: bool = False


GOALS = (
    *(Goal(subject, (Verdict.RETAINED,), 0.95) for subject in (UNTOUCHED, EDITED, "ESC")),
    *(
        Goal(subject, (Verdict.LIKE_RETRAINED, Verdict.BELOW_RETRAINED), 0.0, at_most=True)
        for subject in (UNTOUCHED, EDITED)
    ),
    Goal(RETRAINED, (Verdict.RETAINED,), 0.025, at_most=True),
    Goal(RETRAINED, (Verdict.LIKE_RETRAINED,), 0.80),
)


class Draw:
    """Test samples drawn anew, the same ones in all models.

    Args:
        generator: of the draws.
        size: forgotten samples; None draws as many as there are.
    """

    def __init__(self, generator: torch.Generator, size: int | None):
        self._generator, self._size = generator, size
        self._rows: dict[tuple[str, int], Tensor] = {}

    def of(self, reading: Reading) -> Reading:
        """What an attack reads of the drawn samples."""
        n = len(reading.forget)
        forget = reading.forget[self._drawn("forget", n, min(self._size or n, n))]
        alarms, rest = (
            None if part is None else part[self._drawn("rest", len(part), len(part))]
            for part in (reading.alarms, reading.rest)
        )
        if rest is not None:  # to first order an AUC moves by the sum of what both groups move it
            forget = (forget + rest.mean() - reading.value).clamp(0, 1)
        return replace(reading, forget=forget, alarms=alarms, rest=rest)

    def _drawn(self, group: str, n: int, count: int) -> Tensor:
        if (group, n) not in self._rows:
            self._rows[group, n] = torch.randint(n, (count,), generator=self._generator)
        return self._rows[group, n]


def class_words(
    found: Attacked, references: int, size: int | None, draws: int
) -> Iterator[dict[str, Verdict]]:
    """The verdicts on all subjects of a class request, draw by draw."""
    networks = found[RETRAINED]
    for seed in range(draws):
        generator = torch.Generator().manual_seed(seed)
        left_out, *order = torch.randperm(len(networks), generator=generator).tolist()
        subjects = {name: several[0] for name, several in found.items()}
        subjects[RETRAINED] = networks[left_out]
        draw = Draw(generator, size)
        never = [[draw.of(one) for one in networks[place]] for place in order[:references]]
        each = list(zip(*never, strict=True))
        drawn = {name: [draw.of(one) for one in own] for name, own in subjects.items()}
        bound = chance_bound(CLASSES)
        yield {
            name: overall(drawn[UNTOUCHED], own, each, retrained=True, chance=bound).verdict
            for name, own in drawn.items()
        }


def sample_words(
    found: dict[str, list[SampleReadings]], references: int, draws: int
) -> Iterator[dict[str, Verdict]]:
    """The verdicts on all subjects of a sample request, draw by draw."""
    networks = found[RETRAINED]
    for seed in range(draws):
        generator = torch.Generator().manual_seed(seed)
        left_out, *order = torch.randperm(len(networks), generator=generator).tolist()
        choice = tuple(sorted(order[:references]))
        draw = Draw(generator, None)
        never = [[draw.of(one) for one in networks[place].group] for place in choice]
        before = [draw.of(one) for one in found[UNTOUCHED][0].group]
        words = {}
        for name, several in found.items():
            subject = networks[left_out] if name == RETRAINED else several[0]
            after = [draw.of(one) for one in subject.group]
            each = list(zip(*never, strict=True))
            rows = overall(before, after, each, retrained=True, chance=0.0).attacks
            if choice in subject.members:
                told = [[draw.of(one) for one in each] for each in subject.members[choice]]
                rows = [judge_members(told[0], told[1], told[2:]), *rows]
            words[name] = together(rows)
        yield words


def class_rows(data: str, found: Attacked, draws: int) -> Iterator[Row]:
    """One row for each number of references that leaves a network over, and of test samples."""
    networks = len(found[RETRAINED])
    for references in sorted({min(one, networks - 1) for one in REFERENCES}):
        for size in SIZES[data]:
            said = class_words(found, references, size, draws)
            samples = size or max(len(one.forget) for one in found[UNTOUCHED][0])
            yield _row(data, references, networks, samples, said, draws)


def sample_rows(draws: int) -> Iterator[Row]:
    """The same for a request of samples."""
    choices = [
        choice for size in REFERENCES for choice in itertools.combinations(range(len(SEEDS)), size)
    ]
    found = sample_readings(choices)
    samples = len(found[UNTOUCHED][0].group[0].forget)
    for references in REFERENCES:
        said = sample_words(found, references, draws)
        yield _row("digit-samples", references, len(SEEDS), samples, said, draws)


def _row(
    data: str,
    references: int,
    networks: int,
    samples: int,
    said: Iterator[dict[str, Verdict]],
    draws: int,
) -> Row:
    counted: dict[str, Counter[str]] = {}
    for words in said:
        for name, word in words.items():
            counted.setdefault(name, Counter())[str(word)] += 1
    for name, own in counted.items():
        print(f"{data}, {references} references, n = {samples}: {name} {dict(own)}", flush=True)
    shares = {name: {word: own[word] / draws for word in WORDS} for name, own in counted.items()}
    return Row(data, references, networks, samples, draws, shares)


def table(rows: Sequence[Row]) -> str:
    """All rows as Markdown, in percent of the draws."""
    lines = [
        f"| data | references | n | subject | {' | '.join(WORDS)} |",
        "|---|---:|---:|---|" + "---:|" * len(WORDS),
    ]
    for row in rows:
        for name, shares in row.shares.items():
            cells = " | ".join(f"{100 * shares[word]:.1f}" for word in WORDS)
            lines.append(
                f"| {row.data} | {row.references} of {row.networks} | {row.samples} | {name}"
                f" | {cells} |"
            )
    return "\n".join(lines) + "\n"


def goals(rows: Sequence[Row]) -> str:
    """What was aimed at with the most references and samples of each data set, and what is met."""
    lines = ["| data | subject | word | goal | reached | met |", "|---|---|---|---:|---:|---|"]
    for data in dict.fromkeys(row.data for row in rows):
        own = [row for row in rows if row.data == data]
        row = max(own, key=lambda one: (one.references, one.samples))
        for goal in GOALS:
            if goal.subject in row.shares:
                lines.append(_reached(goal, row))
    return "\n".join(lines) + "\n"


def _reached(goal: Goal, row: Row) -> str:
    share = sum(row.shares[goal.subject][str(word)] for word in goal.words)
    low, high = share_interval(share * row.draws, row.draws)
    is_met = share <= goal.bound if goal.at_most else share >= goal.bound
    words = " or ".join(map(str, goal.words))
    sign = "at most" if goal.at_most else "at least"
    return (
        f"| {row.data} | {goal.subject} | {words} | {sign} {100 * goal.bound:g} % |"
        f" {100 * share:.1f} % [{100 * low:.1f}, {100 * high:.1f}] | {'yes' if is_met else 'no'} |"
    )


def stored(folder: Path) -> list[Row]:
    """All rows of earlier runs, in the order of the data."""
    rows = [Row(**json.loads(path.read_text("utf-8"))) for path in folder.glob("*.json")]
    return sorted(rows, key=lambda row: (DATA.index(row.data), row.references, row.samples))


def main() -> None:
    """Attack the models once, then draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", choices=DATA, default=["digits", "digit-samples"])
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("results/operating"))
    parser.add_argument("--cache", type=Path, default=Path("build/operating"))
    parser.add_argument("--networks", type=Path, default=Path("build/cifar10-seeds"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.data:
        if name == "digit-samples":
            found = sample_rows(given.draws)
        else:
            bench = digits_bench() if name == "digits" else cifar10_bench(given.networks)
            found = class_rows(name, class_readings(bench, given.cache), given.draws)
        for row in found:
            path = given.out / f"{name}-{row.references}-references-{row.samples}.json"
            path.write_text(json.dumps(asdict(row), indent=1) + "\n", "utf-8")
    rows = stored(given.out)
    page = f"{goals(rows)}\n{table(rows)}"
    (given.out.parent / "operating.md").write_text(page, "utf-8")


if __name__ == "__main__":
    main()
