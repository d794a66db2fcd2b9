"""The first screen: its order, its rows at every width, its colours, and its words."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from browser import BINARY, Browser
from report_pages import first_screen, html, parsed, words

from unspan import report
from unspan.audit_record import stored
from unspan.audit_record.drawings import Figures
from unspan.audit_record.summary import AuditedFile, NextStep
from unspan.audit_record.vocabulary import (
    Access,
    Basis,
    Level,
    LevelState,
    Obtainable,
    Saying,
    Step,
    Strength,
    Verdict,
    Weakness,
)
from unspan.auditing.accesses import NEEDS
from unspan.auditing.evidence import STRONG_FROM, WEAK_BELOW
from unspan.auditing.levels import NEAR_HALF
from unspan.metrics.identity import Family
from unspan.report import advice, auditor, first, who
from unspan.report.conclusion import conclusion, mark
from unspan.report.words import first as told
from unspan.report.words.drawn import Drawn
from unspan.report.words.parts import Part
from unspan.report.words.rest import Rest
from unspan.system.target import Target

SAMPLE = Path(__file__).parents[2] / "data" / "audit-sample.json"
ORDER = (  # of the blocks
    'class="identity"',
    "<h1>",
    "Who can still get what?",
    "Before, now, guessing, retrained",
    "What it cost",
    "Do this next",
    "You may say",
    "You may not say",
    'aria-label="Contents"',
    '<section id="attacks"',
)
LONGEST = 25  # words of a sentence


@pytest.fixture(scope="module")
def record():
    return stored.read(SAMPLE)


@pytest.fixture(scope="module")
def bare(record):
    """The record without drawings, which take time."""
    return replace(record, figures=Figures())


def answered(record, answer, **other):
    """The record with the same answer for every access but those named; a pair gives the lower end
    of what is read as well.
    """
    rows = []
    for one in record.accesses:
        given = other.get(one.access.name, answer)
        if isinstance(given, tuple):
            given, low = given
            one = replace(one, unit="share", guessing=0.1, value=low, low=low, high=low + 0.05)
        rows.append(replace(one, answer=given, trace=False))
    return replace(record, accesses=rows)


def strong(record, strength=Strength.STRONG):
    return replace(record, evidence=replace(record.evidence, strength=strength, weaknesses=[]))


def test_the_blocks_stand_in_their_order(bare):
    page = report.html(bare)
    places = [page.index(one) for one in ORDER]
    assert places == sorted(places)


def test_markdown_has_the_same_blocks_in_the_same_order(record):
    text = report.markdown(record)
    places = [text.index(one) for one in ORDER if not re.search("[<=]", one)]
    assert len(places) == 6 and places == sorted(places)


def test_every_access_has_its_row_with_number_n_interval_and_what_to_hold_it_against(record):
    rows = who.accesses(record).rows
    assert [row[0].text.casefold() for row in rows] == [
        told.ACCESS[one].casefold() for one in Access
    ]
    features = [cell.text.replace("\u00a0", " ") for cell in rows[2]]
    assert features[1:] == ["yes", "83.3 %", "10.0 %", "83.5 %", "64.0 %"]
    assert rows[2][2].sub.replace("\u00a0", " ") == "[80.8, 85.6], n = 1,000"


def test_the_file_is_named_with_the_hash_that_sha256sum_prints(bare):
    seen = first_screen(report.html(bare))
    assert (
        "5c1e7f02" in seen and "cifar-without-deer/model.safetensors" in seen and "9d" * 32 in seen
    )
    assert "at latest 2026-05-21" in seen and "A. Auditor, Example Ltd" in seen
    memory = first_screen(html({}))
    assert "model in memory, no file" in memory and "the model has no receipt" in memory


def test_tensor_hashes_stand_with_what_they_are_hashes_of(bare):
    page = words(report.html(bare))
    assert bare.hashes.after not in first_screen(report.html(bare))
    assert "sha256sum FILE" in page and "bytes of the tensors of the audited model" in page


def test_who_made_it_is_shown_literally(bare):
    odd = replace(bare, identity=replace(bare.identity, by='"><script>alert(1)</script>'))
    assert '"><script>alert(1)</script>' in first_screen(report.html(odd))
    assert not list(parsed(report.html(odd)).iter("script"))
    file = AuditedFile('<img src="x">', "}</style><script>")
    odd = replace(bare, identity=replace(bare.identity, model=file), seal="</style>")
    assert not list(parsed(report.html(odd)).iter("script"))
    assert "<img src" not in report.html(odd).replace('<img src="data:', "")
    assert len(list(parsed(report.html(odd)).iter("style"))) == 1


def test_only_a_real_seal_gets_into_the_style(bare):
    sealed = stored.sealed(bare)
    assert f'content: "audit.json {sealed.seal}"' in report.html(sealed)
    page = report.html(replace(bare, seal='sha256:x"; } body { display: none'))
    style = page[page.index("<style>") : page.index("</style>")]
    assert "audit without a seal" in style and "body { display" not in style


# The plain sentence and its colour


def test_the_plain_sentence_says_what_the_answers_say(record):
    yes, no, open_ = Obtainable.YES, Obtainable.NO, Obtainable.CANNOT_TELL
    erased = replace(record, verdict=Verdict.BELOW_RETRAINED)
    retained = replace(record, verdict=Verdict.RETAINED)
    undecided = replace(record, verdict=Verdict.INCONCLUSIVE)
    like = replace(record, verdict=Verdict.LIKE_RETRAINED)
    said = {
        "Hidden in normal use. Not gone from the file.": answered(erased, no, FILE=yes),
        "Hidden in normal use. Not found in the file either.": answered(erased, no, FILE=(no, 0.1)),
        "Hidden in normal use. The file gives no more either.": answered(
            erased, no, FILE=(no, 0.5)
        ),
        "Used normally, like a network that never learned it. The file gives no more either.": (
            answered(like, no, FILE=(no, 0.5))
        ),
        "Hidden from one question. Not from repeated ones. Not gone from the file.": answered(
            erased, no, REPEATS=yes, FILE=yes
        ),
        "Still in the answers. Not gone from the file.": answered(retained, yes),
        "No longer named. Still in the features. Not gone from the file.": answered(
            retained, yes, NAMED=(no, 0.0), SCORES=no
        ),
        "Named about as rarely as by guessing. Still in the features. Not gone from the file.": (
            answered(retained, yes, NAMED=(no, 0.09), SCORES=no)
        ),
        "Not shown to be erased. Not shown to be gone from the file.": answered(undecided, open_),
        "This audit cannot tell whether it is gone.": replace(
            record, verdict=Verdict.NOT_MEASURABLE
        ),
    }
    assert {conclusion(one): text for text, one in said.items()} == {text: text for text in said}


def test_what_cannot_be_told_is_said_with_the_verdict_and_with_every_quote(record):
    """A reader took "cannot tell" for "no more than retrained"."""
    like = replace(
        answered(record, Obtainable.NO, FILE=(Obtainable.NO, 0.5)),
        verdict=Verdict.LIKE_RETRAINED,
        evidence=replace(record.evidence, deciding=[*Family][:4], undecided=[*Family][4:7]),
    )
    said = "3 of 7 kinds of attackers cannot tell."
    assert first.meaning(like).endswith(said)
    quotes = [one for one in advice.may_say(like) if one.startswith("“")]
    assert quotes and all(one.endswith(f"{said}”") for one in quotes)
    all_decide = replace(like, evidence=replace(like.evidence, undecided=[]))
    assert "cannot tell" not in first.meaning(all_decide) + "".join(advice.may_say(all_decide))


def test_what_may_be_said_of_a_retained_class_does_not_mislead_alone(record):
    quotes = advice.may_say(replace(record, verdict=Verdict.RETAINED))
    assert quotes and all("It can still be read in other ways." in one for one in quotes)


def test_green_needs_every_answer_no_and_evidence_that_is_not_weak(record):
    erased = replace(record, verdict=Verdict.LIKE_RETRAINED)
    closed = answered(erased, Obtainable.NO)
    assert mark(strong(closed)) == "yes"
    assert mark(strong(closed, Strength.WEAK)) == "part"
    for access in Access:
        if access is Access.COPIES:
            continue
        for answer in (Obtainable.YES, Obtainable.CANNOT_TELL):
            one = answered(erased, Obtainable.NO, **{access.name: answer})
            assert mark(strong(one)) == "part", (access, answer)
    assert [mark(replace(closed, verdict=word)) for word in Verdict][2:] == ["no", "open", "none"]


@pytest.mark.parametrize(
    ("unit", "guessing", "low", "high", "shown"),
    [
        ("share", 0.1, 0.56, 0.83, "yes, but no more than retrained"),
        ("share", 0.1, 0.02, 0.17, "no"),
        ("AUC", 0.5, 0.2, 0.4, "yes, but no more than retrained"),
        ("AUC", 0.5, 0.4, 0.6, "no"),
        ("share", None, 0.5, 0.6, "no"),
    ],
)
def test_a_plain_no_stands_only_where_nothing_is_read(record, unit, guessing, low, high, shown):
    """A network that never saw a class can still give it away by what other data taught it."""
    one = replace(
        record.accesses[2],
        answer=Obtainable.NO,
        unit=unit,
        guessing=guessing,
        value=(low + high) / 2,
        low=low,
        high=high,
    )
    cell = who.answer(one, strong(record))
    assert cell.text == shown
    assert cell.mark == ("yes" if shown == "no" else "part")


def test_a_trace_is_said_in_the_answer_itself(record):
    one = replace(record.accesses[2], answer=Obtainable.NO, low=0.0, high=0.1, trace=True)
    cell = who.answer(one, strong(record))
    assert (cell.text, cell.mark) == ("no, but the erasure shows", "part")


def test_what_the_file_holds_is_in_the_lead_and_in_every_quotation(record):
    """Each sentence may be quoted alone, so none may be quoted without it."""
    erased = replace(record, verdict=Verdict.BELOW_RETRAINED)
    open_ = answered(erased, Obtainable.NO, FILE=Obtainable.YES)
    assert "Whoever holds the file gets it back" in first.meaning(open_)
    assert all("It is not gone from the file." in said for said in advice.may_say(open_))
    closed = answered(erased, Obtainable.NO)
    assert "file" not in first.meaning(closed)
    assert not any("file" in said for said in advice.may_say(closed))


def test_no_answer_is_green_over_weak_evidence(record):
    one = replace(record.accesses[0], answer=Obtainable.NO)
    assert who.answer(one, strong(record)).mark == "yes"
    weak = who.answer(one, strong(record, Strength.WEAK))
    assert weak.mark == "open" and weak.sub == "weak evidence"
    undecided = replace(one, answer=Obtainable.CANNOT_TELL)
    assert who.answer(undecided, strong(record)).mark == "open"


def test_the_aim_is_said_with_whether_it_is_met_and_the_trace(record):
    assert (
        first.aim(record)
        == "Suppressed (nobody reads more than a network that never learned it gives): not met."
    )
    hidden = replace(answered(record, Obtainable.NO), verdict=Verdict.BELOW_RETRAINED)
    assert first.aim(hidden).endswith(": met.")
    rows = [replace(one, trace=one.access is Access.FEATURES) for one in hidden.accesses]
    traced = replace(hidden, accesses=rows)
    assert first.aim(traced).endswith(
        "met. Whoever trains on the model’s internal features can see that something was erased."
    )
    like = replace(traced, method=replace(traced.method, target=Target.LIKE_RETRAINED))
    assert first.aim(like).endswith("not met.")
    assert "not recorded" in first.aim(replace(traced, method=None)).casefold()


# Cost, steps, sayings


def test_the_cost_names_the_class_that_lost_most(record):
    assert "“bird”, 78.1 %" in " ".join(advice.cost(record)).replace("\u00a0", " ")
    kept = replace(record.cost.worst, after=0.9)
    none_lost = replace(record, cost=replace(record.cost, worst=kept))
    assert "No class that was to be kept lost accuracy" in advice.cost(none_lost)[1]
    assert "Not measured" in advice.cost(replace(record, cost=None))[0]


def test_what_may_be_said_follows_from_the_levels_that_hold(record):
    assert ["in 89 of 1,000 test samples" in one for one in advice.may_say(record)] == [True]
    none = replace(record, levels=[replace(one, state=LevelState.FAILS) for one in record.levels])
    assert "supports no claim" in advice.may_say(none)[0] and len(advice.may_say(none)) == 1
    failed = replace(
        record, controls=[replace(one, caught=not one.caught) for one in record.controls]
    )
    assert "supports no claim" in advice.may_say(failed)[0]
    held = replace(record, levels=[replace(one, state=LevelState.HOLDS) for one in record.levels])
    assert len(advice.may_say(held)) == len(Level)
    weak = replace(held, evidence=replace(held.evidence, strength=Strength.WEAK))
    assert "evidence is weak" in advice.may_say(weak)[-1]


def test_every_typed_word_has_its_text():
    tables = {
        Access: told.ACCESS,
        Basis: told.BASIS,
        Obtainable: told.ANSWER,
        Family: told.FAMILY,
        Verdict: told.MEANING,
        LevelState: told.LEVELS,
        Level: told.MAY,
        Saying: told.MAY_NOT,
        Step: told.STEP,
        Strength: told.STRENGTH,
        Target: told.TARGET,
        Weakness: told.WEAKNESS,
    }
    for keys, table in tables.items():
        assert set(table) == set(keys)
    assert set(NEEDS) == set(Family)
    assert str(WEAK_BELOW) in told.WEAKNESS[Weakness.VERY_FEW_SAMPLES]
    assert str(STRONG_FROM) in told.WEAKNESS[Weakness.FEW_SAMPLES]
    assert tuple(map(float, auditor.NEAR_HALF)) == NEAR_HALF


def blocks(page):
    """The text of every block of the first screen."""
    tree = parsed(page[: page.index('<section id="attacks"')])
    kinds = ("p", "li", "dd", "caption", "h1", "th", "td")
    return [" ".join(one.itertext()) for kind in kinds for one in tree.iter(kind)]


def test_no_sentence_is_longer_than_25_words(bare):
    texts = [one.value for one in (*told.First, *Rest, *Part, *Drawn)]
    for name, table in vars(told).items():
        if name.isupper() and isinstance(table, dict):
            texts += [str(one) for one in table.values()]
    texts += blocks(report.html(bare))
    assert len(texts) > 150
    for text in texts:
        for sentence in re.split(r"(?<=[.!?])\s", text):
            assert len(sentence.split()) <= LONGEST, sentence


def test_a_step_counts_what_is_missing():
    assert "1 more network retrained" in advice.step(NextStep(Step.MORE_REFERENCES, 1))
    assert "3 more networks retrained" in advice.step(NextStep(Step.MORE_REFERENCES, 3))
    assert "(now 48)" in advice.step(NextStep(Step.MORE_SAMPLES, 48))


# For an auditor


def requirements(record):
    rows = auditor.auditor(record).tables[0].rows
    return {row[0].text: str(row[1].text) for row in rows}


def test_only_retraining_meets_12_2_3(record):
    for name, word in (
        ("esc", "not claimed"),
        ("resample", "not claimed"),
        ("retrain", "met here"),
    ):
        one = replace(record, method=replace(record.method, name=name))
        assert requirements(one)["C12.2.3"] == word
    assert requirements(replace(record, method=None))["C12.2.3"] == "not claimed"


def test_membership_is_met_by_level_s_alone(record):
    for state, word in zip(LevelState, ("met here", "not met", "not claimed", "not claimed")):
        levels = [
            replace(one, state=state if one.level is Level.S else LevelState.HOLDS)
            for one in record.levels
        ]
        assert requirements(replace(record, levels=levels))["C12.2.2"] == word
    assert requirements(record)["C12.2.1"] == "not claimed"


# In a real browser

WIDTHS = (390, 768, 1280)
HIDDEN = """
[...document.querySelectorAll('main > :not(section), main > :not(section) *')].filter(one =>
  ['none', 'contents'].includes(getComputedStyle(one).display)
  || getComputedStyle(one).visibility === 'hidden'
).map(one => one.outerHTML.slice(0, 80))
"""
ROWS = """
[...document.querySelectorAll('.who tbody tr')].map(one => {
  const cells = [...one.children].map(cell => cell.getBoundingClientRect());
  return cells.every(box => box.width > 0 && box.height > 0 && box.right <= innerWidth + 1);
})
"""


@pytest.fixture(scope="module")
def browser():
    if BINARY is None:
        pytest.skip("no Chromium on this machine")
    found = Browser()
    yield found
    found.close()


@pytest.fixture(scope="module")
def page(record, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(report.html(record), "utf-8")
    return path


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_hidden_and_every_row_is_there_at_every_width(browser, page, width):
    browser.open(page, width, 844)
    assert browser.js(HIDDEN) == []
    assert browser.js(ROWS) == [True] * len(Access)
    tops = browser.js(
        "[...document.querySelectorAll('.identity, .verdict, .card, nav, #attacks')]"
        ".map(one => one.getBoundingClientRect().top)"
    )
    assert tops == sorted(tops) and len(tops) == 8


def test_a_desktop_shows_who_can_still_get_what_at_once_and_has_eight_screens_at_most(
    browser, page
):
    browser.open(page, 1280, 800)
    assert browser.js("document.querySelector('.who').getBoundingClientRect().bottom") <= 800
    assert browser.js("document.documentElement.scrollHeight") <= 8 * 800


def test_a_phone_shows_file_and_verdict_at_once(browser, page):
    browser.open(page, 390, 844)
    assert browser.js("document.querySelector('.verdict').getBoundingClientRect().bottom") <= 844


def test_numbers_stand_to_the_right_and_the_first_column_stays(browser, page):
    browser.open(page, 390, 844)
    style = "getComputedStyle(document.querySelector('#attacks {}')).{}"
    assert browser.js(style.format("td.num", "textAlign")) == "right"
    assert browser.js(style.format("tbody th", "position")) == "sticky"
