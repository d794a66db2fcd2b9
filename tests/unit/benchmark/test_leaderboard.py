"""What the leaderboard shows first, folds, marks as best and prints."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from browser import BINARY, Browser
from hypothesis import given
from hypothesis import strategies as st

from unspan.benchmark.leaderboard import leaderboard
from unspan.benchmark.spec import find, load
from unspan.benchmark.table_ranks import best_alone, ranks
from unspan.benchmark.table_values import Column, Fold, Line, Number, Table
from unspan.benchmark.tables import latex, markdown
from unspan.benchmark.views import CLASS, SETTINGS, STEP


def table(columns=CLASS, methods=("original", "esc", "bake")):
    lines = tuple(
        Line(
            name,
            name,
            None if name == "original" else True,
            "pair",
            {one.key: Number(10.0 * place + at, 0.5, 3) for at, one in enumerate(columns)},
            3,
            3,
        )
        for place, name in enumerate(methods)
    )
    return Table("t", "A table", columns, lines, "a note")


class Seen(HTMLParser):
    """Cells with the folded blocks that they stand in."""

    def __init__(self):
        super().__init__()
        self.inside, self.cells, self.heads, self.classes = [], [], [], []
        self.last = ""

    def handle_starttag(self, tag, attrs):
        if tag == "details":
            self.inside.append(dict(attrs).get("class", "details"))
        if tag in ("td", "th"):
            self.last = tag
        if tag == "td":
            self.classes.append((tuple(self.inside), dict(attrs).get("class", "")))

    def handle_endtag(self, tag):
        if tag == "details":
            self.inside.pop()

    def handle_data(self, data):
        if self.last == "th" and data.strip():
            self.heads.append((tuple(self.inside), data.strip()))


def seen(page):
    found = Seen()
    found.feed(page)
    return found


def test_what_decides_stands_open_with_false_positives_beside_recall():
    heads = [text for inside, text in seen(leaderboard([("cpu", table())])).heads if not inside]
    assert heads[:6] == [
        "method",
        "strongest attack ≈",
        "its false positives",
        "D_ft ↓",
        "D_rt ↑",
        "seconds ↓",
    ]


@pytest.mark.parametrize("columns", [CLASS, SETTINGS, STEP])
def test_the_published_probe_is_folded_and_never_best(columns):
    published = {one.key for one in columns if one.key.startswith("KR")}
    assert published and {one.key for one in columns if one.fold is Fold.KR} == published
    one = table(columns)
    assert not {key for _, key in ranks(one)} & published
    found = seen(leaderboard([("cpu", one)]))
    folded = [mark for inside, mark in found.classes if "aside" in inside]
    assert len(folded) == 3 * len(published) and set(folded) == {""}
    assert {mark for inside, mark in found.classes if "aside" not in inside} > {"best"}
    text = markdown(one)
    summary = "<summary>KR, the published probe, not trained to convergence</summary>"
    shown, _, rest = text.partition(summary)
    assert "KR D" not in shown and "KR HM" not in shown
    assert "KR HM" in rest and "**" not in rest and "<u>" not in rest
    row = next(line for line in latex(one).splitlines() if line.startswith("esc"))
    marked = [one.count("textbf") + one.count("underline") for one in row.split(" & ")[2:]]
    assert [bool(count) for count in marked] == [
        (1, one.key) in ranks(table(columns)) for one in columns
    ]


@pytest.mark.parametrize("name", ["table1a", "table1b", "table1c", "fashion", "figure1", "figure5"])
@pytest.mark.parametrize("budget", ["smoke", "cpu", "full", "paper"])
def test_the_methods_of_this_library_stand_beside_the_published_ones(name, budget):
    methods = {row.method for row in load(find(name), budget).rows}
    assert {"resample", "bake", "esc"} <= methods


COLUMNS = (Column("D_ft", "D_ft", "lower"), Column("D_rt", "D_rt", "higher"), Column("MIA", "MIA"))
ROWS = {  # method: reads retained data, values
    "original": (None, 0.0, 99.0),
    "salun": (True, 1.0, 90.0),
    "esc": (False, 8.0, 85.0),
    "esc-t": (False, 8.0, 86.0),
    "neggrad": (False, 9.0, 70.0),
}


def with_both(rows=ROWS):
    lines = [
        Line(
            name, name, reads, "p", {"D_ft": Number(a), "D_rt": Number(b), "MIA": Number(50)}, 1, 1
        )
        for name, (reads, a, b) in rows.items()
    ]
    return Table("t", "T", COLUMNS, tuple(lines))


def test_the_best_without_retained_data_is_marked_beside_the_best_of_all():
    text = markdown(with_both())
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if "|" in line}
    assert rows["original"].endswith("| 0.0 | 99.0 | 50.0 |")
    assert rows["salun"].endswith("| **1.0** | **90.0** | 50.0 |")
    assert rows["esc"].endswith("| <u>8.0</u>† | 85.0 | 50.0 |")
    assert rows["esc-t"].endswith("| <u>8.0</u>† | <u>86.0</u>† | 50.0 |")
    assert "†" not in rows["neggrad"]
    assert "† the best of the methods that read no retained data (reads D_r: ✗)." in text
    tex = latex(with_both())
    assert r"esc & $\times$ & \textcolor{blue}{\underline{8.0}} & 85.0 & 50.0 \\" in tex
    assert tex.startswith("%") and "xcolor" in tex
    page = leaderboard([("cpu", with_both())])
    assert page.count('<span class="alone">†</span>') == 3
    assert page.count("† the best of the methods") == 1


def against_retrained(*others, retrained=(60.0,)):
    values = {"original": 85.0, **{f"m{i}": one for i, one in enumerate(others)}}
    values |= {"retrain": retrained[0]} if retrained else {}
    lines = [Line(name, name, True, "p", {"A": Number(one)}, 1, 1) for name, one in values.items()]
    return Table("t", "T", (Column("A", "attack", "retrained"),), tuple(lines))


def test_of_an_attack_the_nearest_to_the_retrained_network_is_best_on_either_side():
    one = against_retrained(80.0, 5.0, 56.0, 63.0)
    marked = {one.lines[number].method: place for (number, _), place in ranks(one).items()}
    assert marked == {"m3": 0, "m2": 1}
    text = markdown(one)
    assert "attack ≈" in text and "**63.0**" in text and "<u>56.0</u>" in text
    assert "less than it reads is a trace" in text
    assert "less than it reads is a trace" in leaderboard([("cpu", one)])
    assert r"\approx" in latex(one)


def test_without_a_retrained_network_no_reading_of_an_attack_is_best():
    one = against_retrained(80.0, 5.0, retrained=())
    assert ranks(one) == {} and "**" not in markdown(one).split("| |")[-1]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=8))
def test_whom_nobody_without_retained_data_beats_is_marked_and_nobody_else(rows):
    one = with_both({f"m{i}": (reads, float(a), float(a)) for i, (reads, a) in enumerate(rows)})
    marked = {number for number, key in best_alone(one) if key == "D_ft"}
    alone = {number: a for number, (reads, a) in enumerate(rows) if not reads}
    expected = {number for number, a in alone.items() if a == min(alone.values())}
    assert marked == (expected if any(reads for reads, _ in rows) else set())


def test_a_table_whose_methods_all_read_the_forget_data_alone_has_no_second_mark():
    one = with_both({name: row for name, row in ROWS.items() if row[0] is not True})
    assert "†" not in markdown(one) + leaderboard([("cpu", one)])
    assert "textcolor" not in latex(one) and "xcolor" not in latex(one)


def test_a_number_that_no_cell_has_is_a_dash_and_not_a_rank():
    one = table()
    for line in one.lines:
        del line.numbers["false positives"]
    page = leaderboard([("cpu", one)])
    assert page.count('<td data-value="">–</td>') == 3


@pytest.mark.skipif(BINARY is None, reason="needs Chromium (Debian package chromium)")
def test_deciding_columns_are_printed_and_the_published_probe_is_not(tmp_path):
    page = tmp_path / "page.html"
    many = tuple(f"method-{place}" for place in range(12))
    page.write_text(leaderboard([("cpu", table(methods=many))]), "utf-8")
    browser = Browser()
    try:
        browser.open(page, 1000, 700)  # about a sheet of A4, landscape
        browser.call("Emulation.setEmulatedMedia", media="print")
        shown = (
            "[...document.querySelectorAll('thead th')].filter(one =>"
            " one.checkVisibility({contentVisibilityAuto: true}) &&"
            " one.getBoundingClientRect().right <= innerWidth).map(one => one.textContent)"
        )
        heads = browser.js(shown)
        assert heads[1:6] == [
            "strongest attack ≈",
            "its false positives",
            "D_ft ↓",
            "D_rt ↑",
            "seconds ↓",
        ]
        folded = (
            "[...document.querySelectorAll('details.aside')].some(one => one.checkVisibility())"
        )
        assert browser.js(folded) is False
        for width in (390, 768, 1280):
            browser.open(page, width, 800)
            assert browser.js(
                "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
            ), width
    finally:
        browser.close()
