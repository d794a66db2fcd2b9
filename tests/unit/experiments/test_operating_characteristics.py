"""What the experiment counts: draws are paired, and the truth is said of made-up models."""

import sys
from pathlib import Path

import pytest
import torch

from unspan.audit_record.vocabulary import Verdict
from unspan.metrics.identity import AttackId, AttackKind
from unspan.metrics.score import Reading, auc_reading

sys.path.append(str(Path(__file__).resolve().parents[3] / "experiments"))
import operating_characteristics as experiment

N = 400


def reading(share, seed, kind=AttackKind.LINEAR):
    generator = torch.Generator().manual_seed(seed)
    hit = (torch.rand(N, generator=generator) < share).double()
    alarms = (torch.rand(N, generator=generator) < 0.02).double()
    return Reading(
        attack=str(kind), unit="share", forget=hit, alarms=alarms, identity=AttackId(kind)
    )


@pytest.fixture
def found():
    return {
        experiment.UNTOUCHED: [[reading(0.9, 0)]],
        "hides it": [[reading(0.05, 1)]],
        experiment.RETRAINED: [[reading(0.5, seed)] for seed in range(2, 7)],
    }


@pytest.mark.parametrize(
    ("name", "word"),
    [
        (experiment.UNTOUCHED, Verdict.RETAINED),
        ("hides it", Verdict.BELOW_RETRAINED),
        (experiment.RETRAINED, Verdict.LIKE_RETRAINED),
    ],
)
def test_made_up_models_get_the_word_they_deserve(found, name, word):
    said = [words[name] for words in experiment.class_words(found, 3, None, 40)]
    assert len(said) == 40 and said.count(word) >= 36


def test_the_same_samples_are_drawn_in_all_models():
    one, other = reading(0.5, 0), reading(0.7, 1)
    draw = experiment.Draw(torch.Generator().manual_seed(0), 50)
    both = draw.of(one), draw.of(other)
    again = experiment.Draw(torch.Generator().manual_seed(0), 50)
    assert torch.equal(both[1].forget, again.of(other).forget)
    assert len(both[0].forget) == len(both[1].forget) == 50 and len(both[0].alarms) == N


def test_an_auc_keeps_its_value_over_many_draws():
    generator = torch.Generator().manual_seed(0)
    area = auc_reading("x", torch.randn(200, generator=generator) + 1, torch.randn(300))
    values = [
        experiment.Draw(torch.Generator().manual_seed(seed), None).of(area).value
        for seed in range(300)
    ]
    assert sum(values) / 300 == pytest.approx(area.value, abs=0.01)


def test_rows_say_how_many_networks_and_samples_and_come_back_from_json(found, tmp_path):
    rows = list(experiment.class_rows("digits", found, 5))
    assert [(row.references, row.networks, row.samples) for row in rows] == [
        (1, 5, 20),
        (1, 5, N),
        (3, 5, 20),
        (3, 5, N),
    ]
    assert all(sum(shares.values()) == pytest.approx(1) for shares in rows[0].shares.values())
    for row in rows:
        text = experiment.json.dumps(experiment.asdict(row))
        (tmp_path / f"{row.references}-{row.samples}.json").write_text(text)
    assert experiment.stored(tmp_path) == rows
    assert experiment.table(rows).count("\n") == 2 + 4 * len(found)


def test_with_few_networks_fewer_references_are_used(found):
    found[experiment.RETRAINED] = found[experiment.RETRAINED][:3]
    assert {row.references for row in experiment.class_rows("digits", found, 2)} == {1, 2}


def test_goals_say_what_is_met_with_most_references_and_samples(found):
    rows = list(experiment.class_rows("digits", found, 20))
    met = [line.split("|")[-2].strip() for line in experiment.goals(rows).splitlines()[2:]]
    assert met == ["yes"] * 4 and len(experiment.GOALS) == 7  # no head was edited, and no ESC
    never = {"NOT MEASURABLE": 1.0}
    shares = {name: dict.fromkeys(experiment.WORDS, 0.0) | never for name in found}
    worst = [experiment.replace(rows[-1], shares=shares)]
    reached = [line.split("|")[-2].strip() for line in experiment.goals(worst).splitlines()[2:]]
    assert reached == ["no", "yes", "yes", "no"]
