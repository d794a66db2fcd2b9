import base64
import copy
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import BINARY, Browser
from PIL import Image
from report_pages import first_screen, html, markdown, parsed, words

from unspan.audit_record.remarks import RemarkCode, remark
from unspan.audit_record.vocabulary import (
    INCONCLUSIVE,
    LIKE_RETRAINED,
    NOT_MEASURABLE,
    RETAINED,
)
from unspan.report.formatting import measured
from unspan.report.page import environment
from unspan.report.sections import is_picture
from unspan.system.palette import DARK, LIGHT, MARKS, SHADE, TEXT, contrast, mixed

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT.parent / "src" / "unspan" / "report"
BANNED = ("gdpr compliant", "proof", "permanently", "irreversibl")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@pytest.fixture(scope="module")
def sample():
    return json.loads((ROOT / "data" / "audit-sample.json").read_text())


@pytest.fixture(scope="module")
def thin(sample):
    """The sample without drawings that take time."""
    return sample | {
        "attacks": sample["attacks"][:2],
        "figures": {"per_class": sample["figures"]["per_class"]},
    }


@pytest.fixture(scope="module")
def page(sample):
    return html(sample)


# What it says


def test_the_first_screen_answers_its_questions(page):
    seen = first_screen(page)
    for needed in (
        "Named about as rarely as by guessing. Still in the scores and the features.",
        "RETAINED. Levels that hold: L0. Levels that do not hold: L1, L2, L3, L4. Not tested: S.",
        "Forget the class “deer” (5,000 samples)",
        "Fair. 1,000 samples (held-out test data)",
        "83.3 % [80.8, 85.6], n = 1,000",
        "Compared with 1 model retrained without these data",
        "Erase again by another method",
        "“The data were deleted from the model.”",
    ):
        assert needed in seen, needed


def goal(name, value, met, what="an attack", unit="AUC"):
    return {
        "id": name,
        "what": what,
        "value": value,
        "low": None,
        "high": None,
        "unit": unit,
        "n": 100,
        "bound": 0.6,
        "at_most": True,
        "met": met,
        "sure": True,
    }


def test_the_first_screen_counts_the_goals_and_names_what_misses_one(thin):
    unsure = goal("noise", 0.5, met=True) | {"sure": False}
    goals = [goal("features_against_rest", 0.93, met=False), goal("probes", 0.5, True), unsure]
    for render in (markdown, html):
        seen = render(thin | {"goals": goals})
        assert "Goals for a service: 1 surely met, 1 perhaps, 1 not." in seen
        assert "Not met: forgotten against rest, from features (0.930)." in seen
        assert "Goals for a service: " not in render(thin | {"goals": []})


def test_a_goal_whose_interval_reaches_back_is_not_shown(thin):
    wide = goal("features_against_rest", 0.62, met=False) | {"sure": False}
    seen = html(thin | {"goals": [wide]})
    assert "Goals for a service: 0 surely met, 1 perhaps, 0 not." in words(seen)
    assert "not shown its interval reaches within" in words(seen)


@pytest.mark.parametrize("word", [LIKE_RETRAINED, RETAINED, INCONCLUSIVE, NOT_MEASURABLE])
def test_every_verdict_has_its_own_word_colour_and_shape(word):
    sample = {"levels": []}
    seen = html(sample | {"verdict": word})
    banner = re.search(r'<div class="verdict (\w+)">\s*<svg.*?</svg>', seen, re.S)
    others = {
        re.search(
            r'<div class="verdict (\w+)">\s*<svg.*?</svg>', html(sample | {"verdict": other}), re.S
        )[0]
        for other in (LIKE_RETRAINED, RETAINED, INCONCLUSIVE, NOT_MEASURABLE)
        if other != word
    }
    assert f"Verdict code {word}." in first_screen(seen)
    assert banner[0] not in others and len(others) == 3


def test_every_reference_has_its_own_column(thin):
    rows = [
        thin["scores"][0] | {"model": model, "value": value, "low": None, "high": None}
        for model, value in (
            ("before", 0.81),
            ("after", 0.82),
            ("reference 1", 0.83),
            ("reference 2", 0.84),
        )
    ]
    seen = words(html({"scores": rows}))
    assert (
        "Before After Reference 1 Reference 2 n" in seen and "81.0 % 82.0 % 83.0 % 84.0 %" in seen
    )
    assert "Before After Reference n" in words(html({"scores": rows[:3]}))


def with_first_attack(audit, **changes):
    first, *rest = audit["attacks"]
    return audit | {"attacks": [first | changes, *rest]}


def test_an_attack_that_stopped_early_says_so(thin):
    name = thin["attacks"][0]["attack"]
    seen = html(with_first_attack(thin, converged=False))
    assert f"NOT CONVERGED, could read more: {name}." in first_screen(seen)
    assert words(seen).count("NOT CONVERGED") == 2
    assert "NOT CONVERGED" not in words(html(with_first_attack(thin, converged=True)))


def test_no_decision_reads_a_printed_name():
    first, second = (
        first_screen(html({"goals": [goal("probes", 0.9, False, title, "share")]}))
        for title in ("strongest: trained", "a: b")
    )
    assert "Not met: strongest trained probe (90.0" in first
    assert first == second


def test_notes_of_the_audit_are_on_the_first_screen(thin):
    seen = remark(RemarkCode.REFERENCE_HAS_SEEN, reference="reference 1", share=0.25)
    assert "Reference 1 names 25.0 % of the forgotten test samples: it seems" in first_screen(
        html(thin | {"notes": [asdict(seen)]})
    )


def test_a_class_without_samples_leaves_a_gap_in_the_matrix():
    source = {
        "classes": ["a", "b"],
        "before": [[1.0, None], [None, None]],
        "after": [[1.0, 0.5], [0.5, 1.0]],
    }
    seen = html({"figures": {"cosine": source}})
    assert "b is nearest to none (not measured)" in seen and "b is nearest to a (0.50)" in seen


def test_the_published_score_is_marked_and_set_against_the_attack(page):
    seen = words(page)
    assert "Published scores: compatibility — not converged" in seen and "↓ lower is better" in seen
    assert (
        "reads 17.3 % [15.0, 19.8], n = 1,000, which alone would look like an erasure" in seen
        and "the knowledge is still there" in seen
    )


def test_the_controls_are_counted(page, sample):
    assert "The audit caught 2 of 2 fakes" in words(page) and "no false alarm in 1 of 1" in words(
        page
    )
    missed = copy.deepcopy(sample)
    missed["controls"][1] |= {"verdict": "INCONCLUSIVE", "caught": False}
    assert "1 of 2 fakes" in words(
        html(missed)
    ) and "Do not rely on this verdict: 1 of 3 self-tests" in first_screen(html(missed))


def test_a_verdict_that_its_attacks_contradict_is_not_trusted(sample):
    assert "at least one attack in the table below says RETAINED" in first_screen(
        html(sample | {"verdict": LIKE_RETRAINED})
    )


def test_every_claim_names_its_data_and_reference(page, sample):
    item = next(
        one for one in parsed(page).iter("li") if "L0: for class deer" in "".join(one.itertext())
    )
    text = "".join(item.itertext())
    assert sample["hashes"]["test_data"][:20] in text and "retrained" in text and "interval" in text


def test_hashes_settings_and_thresholds_are_on_the_page(page, sample):
    seen = words(page)
    hashes = [value for value in sample["hashes"].values() if isinstance(value, str)]
    assert len(hashes) == 5
    assert all(value in seen for value in [*hashes, *sample["hashes"]["reference"]])
    assert "at least 25 % of the way" in seen and "<details>" in page


def test_no_share_of_zero_stands_alone(sample):
    changed = copy.deepcopy(sample)
    for one in changed["attacks"]:
        one |= {
            "original": 1.0,
            "erased": 0.0,
            "erased_low": 0.0,
            "erased_high": 0.0037,
            "reference": 0.0,
            "reference_low": 0.0,
            "reference_high": 0.0037,
            "unit": "share",
            "retain": 0.0,
        }
    for one in changed["scores"]:
        one |= {
            "value": 0.0,
            "low": None,
            "high": None,
            "unit": "share",
        }  # may be no share of hits: no interval can be made up
    for one in changed["figures"]["per_class"]:
        one |= {"before": 0.0, "after": 0.0, "low": None, "high": None}
    for seen in (words(html(changed)), markdown(changed).replace("\u00a0", " ").replace("\\", "")):
        zero = re.findall(r"(?<![\d.])0\.0 %(.{0,14})", seen)
        assert (
            len(zero) >= 20
            and "below 0.1 %" in seen
            and all(after.startswith(" [0.0, ") for after in zero)
        )


def test_numbers_carry_interval_and_n():
    assert (
        measured(0.0, 0.0, 0.0037, "share", 1000).line.replace("\u00a0", " ")
        == "0.0 % [0.0, 0.4], n = 1,000"
    )
    assert measured(0.0, n=1000).line == measured(0.0, 0.0, 0.0037, "share", 1000).line
    assert measured(0.0, n=1000, hits=False).line.replace("\u00a0", " ") == "below 0.1 %, n = 1,000"
    assert measured(-0.00001, n=0).value.startswith("0.0") and measured(0.0).value.startswith(
        "below"
    )
    assert (
        measured(float("nan")).value
        == measured("x").value
        == measured(True).value
        == "not measured"
    )
    assert (
        measured(0.98, 0.97, 0.99, "AUC", 5).line.replace("\u00a0", " ")
        == "0.980 [0.970, 0.990], n = 5"
    )


def test_forbidden_words_are_in_no_template_and_no_report(page, sample):
    texts = {
        path.name: path.read_text() for path in PACKAGE.iterdir() if path.suffix in (".py", ".j2")
    }
    assert len(texts) > 8
    for name, text in {
        **texts,
        "html": page,
        "markdown": markdown(sample),
        "empty": html({}),
    }.items():
        assert not [word for word in BANNED if word in text.casefold()], name


# What is missing, wrong or strange


def test_an_empty_audit_claims_nothing_and_says_not_run():
    seen = words(html({}))
    assert seen.count("Not run; no reason was recorded.") >= 8 and "NOT MEASURABLE" in seen
    assert "self-tests of this audit were not run" in seen and markdown({})


def test_each_section_may_be_missing_and_gives_its_reason(sample, thin):
    lists = [key for key, value in sample.items() if isinstance(value, list)]
    assert len(lists) >= 12
    for key in lists:
        assert markdown(sample | {key: []}) and html(thin | {key: []})
    assert html(sample | {"figures": {}, "attacks": []})
    less = thin | {
        "scores": [],
        "not_run": [{"topics": ["membership"], "part": "what_needs_models"}],
    }
    assert "Not run: outputs were given, not models" in words(html(less))


def test_numbers_that_no_audit_measures_leave_a_page(sample):
    """A share of 1e308 or of -1 is not drawn; it is written as it stands."""
    for value in (-1.0, 2.0, 1e308, -1e308):
        changed = copy.deepcopy(sample)
        for one in changed["attacks"] + changed["scores"] + changed["figures"]["per_class"]:
            for key in set(one) & {"original", "erased", "value", "before", "after", "low", "rho"}:
                one[key] = value
        for one in changed["figures"]["layer_change"] + changed["figures"]["sweep"]:
            one |= {key: value for key in one if key != "layer"}
        changed["figures"]["relearn"]["curves"]["after"] = [value] * 5
        changed["figures"]["embedding"]["before"] = [[value, value, 99]]
        changed["figures"]["cosine"]["before"] = [[value]]
        assert html(changed) and markdown(changed)


def test_paths_in_settings_and_ids_of_samples_stay_out(thin):
    changed = copy.deepcopy(thin)
    changed["settings"] |= {"feature_layer": "/home/anna/faces", "pool": "C:\\Users\\anna"}
    changed["hashes"] |= {"config": "s3://anna@bucket/x", "reference": ["see /root/anna.txt"]}
    changed["request"] = {
        "kind": "samples",
        "selector": ["anna-0001", "anna-0002"],
        "samples": 2,
        "test_samples": 0,
        "test": "held_out",
    }
    for seen in (html(changed), markdown(changed)):
        assert "anna" not in seen and "path, left out" in seen
    assert "Forget 2 samples" in first_screen(html(changed))


def test_hundreds_of_classes_stay_drawable(sample):
    changed, many = copy.deepcopy(sample), 300
    changed["figures"]["per_class"] = [
        {
            "name": f"class {i}",
            "forget": i == 7,
            "before": 0.8,
            "after": 0.1 if i == 7 else 0.8,
            "low": 0.05,
            "high": 0.9,
            "n": 50,
        }
        for i in range(many)
    ]
    changed["figures"]["cosine"] = {
        "classes": [f"class {i}" for i in range(many)],
        "before": [[float(i == j) for j in range(many)] for i in range(many)],
        "after": [],
    }
    seen = html(changed)
    assert "20 of 300 classes are drawn" in words(seen) and "class 299" in seen and len(seen) < 2e6


def assert_links_stay(tree):
    """Links lead to sections of the page; the first skips to the evidence."""
    ids = {one.get("id") for one in tree.iter()}
    links = [one.get("href") for one in tree.iter("a")]
    assert links[0] == "#attacks" and len(links) > 5
    assert all(one.startswith("#") and one[1:] in ids for one in links)


# Hostile text

ATTACKS = [
    '"><img src=x onerror=alert(1)>',
    "{{7*7}}",
    "{% raw %}{{ self }}",
    "</title><script>alert(1)</script>",
    "</style><script>1</script>",
    "<svg/onload=alert(1)>",
    "</svg><iframe src=//evil.example>",
    "javascript:alert(1)",
    "' onmouseover='alert(1)",
    '" style="background:url(//evil.example/x)',
    "&lt;script&gt;",
    "<!--",
    "-->",
    "]]>",
    "<![CDATA[<script>1</script>]]>",
    "</desc><script>1</script>",
    "</text><a href=//evil.example>x</a>",
    "<base href=//evil.example>",
    "<meta http-equiv=refresh content=0;url=//evil.example>",
    "<link rel=stylesheet href=//evil.example>",
    "<object data=//evil.example>",
    "<embed src=//evil.example>",
    "<form action=//evil.example><input>",
    "<math><mtext><img src=x onerror=1>",
    "<noscript><p title='</noscript><img src=x onerror=1>'>",
    "<template><script>1</script></template>",
    "\u202egnp.exe",
    "a\nb\r\nc\td",
    "\u2066x\u2069",
    "\x00\x01\x1b[31m",
    "\ud800",
    "x" * 300,
    "שלום עולם",
    "名前" * 30,
    "$\\frac{1}{0}$",
    "$$",
    "\\",
    "100%",
    "a|b`c*d_e[f](g)",
    "<bdo dir=rtl>abc",
    "&#x3C;script&#x3E;",
    "\ufeffx",
    "%3Cscript%3E",
    '<a href="data:text/html,<script>1</script>">x</a>',
    "</bdi></th></tr></table><img src=//evil.example>",
    "<details ontoggle=alert(1) open>",
    "<style>@import '//evil.example';</style>",
    "url(#x)",
    "var(--bg)",
    "#010203",
]
STRINGS = [f"{one}{end}" for one in ATTACKS for end in ("", " 2", '"', ">")]


STEER = {  # words that the program chooses, and that steer the report
    *("unit", "verdict", "model", "group", "schema", "kind", "expect", "better", "level"),
    *("state", "topics", "id", "target", "access", "answer", "basis", "strength", "weaknesses"),
    *("deciding", "undecided", "step", "not_to_say", "given", "code", "planted", "part"),
    *("score", "limits", "test"),
}


def poisoned(sample, strings):
    """The sample with every text replaced by a hostile one, except the words that steer the
    report.
    """
    used = iter(strings * 40)

    def walk(value, key=""):
        if isinstance(value, dict):
            free = key in ("versions", "seconds", "detail")  # their names come from elsewhere
            return {next(used) if free else name: walk(one, name) for name, one in value.items()}
        if isinstance(value, list):
            return [walk(inner, key) for inner in value]
        return next(used) if isinstance(value, str) and key not in STEER else value

    return walk(sample)


def test_two_hundred_hostile_strings_are_shown_and_nothing_else(sample):
    assert len(STRINGS) >= 200
    shares = [STRINGS[i::4] for i in range(4)]
    for strings in shares:
        seen = html(poisoned(sample, strings))
        seen.encode()
        tree = parsed(seen)
        tags = {
            (one.tag.rpartition("}")[2] if isinstance(one.tag, str) else "comment")
            for one in tree.iter()
        }
        assert not tags & {
            "script",
            "img",
            "iframe",
            "object",
            "embed",
            "form",
            "input",
            "base",
            "link",
            "a!",
            "template",
            "math",
            "noscript",
            "foreignObject",
            "image",
            "animate",
            "set",
            "comment",
        }
        assert_links_stay(tree)
        assert len(list(tree.iter("style"))) == 1
        assert len(list(tree.iter("meta"))) == 5 and len(list(tree.iter("title"))) == 1
        for one in tree.iter():
            for name, value in one.attrib.items():
                name = name[1] if isinstance(name, tuple) else name
                assert not name.lower().startswith("on") and name not in (
                    "src",
                    "srcset",
                    "action",
                    "background",
                )
                assert name in ("aria-label", "alt") or not re.search(
                    r"url\((?!#[\w-]+\))|@import|expression\(", value
                )
                assert name.rpartition("}")[2] != "href" or value.startswith("#")


def test_hostile_class_names_are_readable_where_they_matter(thin):
    for name in (
        '"><img src=x onerror=alert(1)>',
        "{{7*7}}",
        "</title><script>",
        "a\nb",
        "\u202eabc",
    ):
        changed = copy.deepcopy(thin)
        changed["request"]["selector"] = [name]
        changed["figures"]["per_class"][4]["name"] = name
        seen = first_screen(html(changed))
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
        assert f"Forget the class “{shown}”" in seen
        assert "49" not in seen


def test_the_standard_parser_sees_no_script_either(sample):
    class Tags(HTMLParser):
        found = set()

        def handle_starttag(self, tag, attrs):
            self.found |= {tag} | {name for name, _ in attrs}

    reader = Tags()
    reader.feed(html(poisoned(sample, STRINGS)))
    assert (
        not reader.found & {"script", "img", "iframe", "src", "onerror", "onload"}
        and "table" in reader.found
    )


def test_hostile_text_is_literal_in_markdown(sample):
    for line in markdown(poisoned(sample, STRINGS)).splitlines():
        bare = re.sub(r"\\.", "", line)
        assert (
            "<" not in bare
            and (">" not in bare or bare.startswith("> "))
            and "](" not in bare
            and "`" not in bare
        )


def test_pictures_are_png_data_and_nothing_else(sample, page):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG")
    good = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    assert is_picture(good) and len(list(parsed(page).iter("img"))) == 3
    bad = [
        "https://evil.example/x.png",
        "data:image/svg+xml;base64,PHN2Zz4=",
        "data:text/html,<script>1</script>",
        good + '" onerror="alert(1)',
        good + "\n",
        " " + good,
        "data:image/png;base64,AAAA",
        "javascript:1",
    ]
    assert not [one for one in bad if is_picture(one)]
    seen = html(
        {
            "figures": {
                "gradcam": [
                    {"caption": "x", "before": one, "after": good, "image": ""} for one in bad
                ]
            }
        }
    )
    assert {one.get("src") for one in parsed(seen).iter("img")} == {
        good
    } and "Pictures left out because they are no PNG data: 8." in words(seen)


# How it is built


def test_escaping_is_on_for_every_template():
    engine = environment()
    assert (
        engine.autoescape is True and engine.from_string("{{ x }}").render(x="<b>") == "&lt;b&gt;"
    )


def test_the_page_is_self_contained_and_inert(page):
    tree = parsed(page)
    policy = [
        one.get("content")
        for one in tree.iter("meta")
        if one.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy == [POLICY] and not list(tree.iter("script")) and tree.get("lang") == "en"
    assert not re.search(r"https?://|@import|\bon\w+\s*=", re.sub(r"base64,[\w+/=]+", "", page))


def test_tables_figures_and_landmarks_are_accessible(page):
    tree = parsed(page)
    for one in tree.iter("table"):
        assert one[0].tag == "caption" and "".join(one[0].itertext()).strip()
        for row in one.iter("tr"):
            assert row[0].get("scope") in ("row", "col") and all(
                cell.get("scope") for cell in row.iter("th")
            )
    drawn = [one for one in tree.iter("{http://www.w3.org/2000/svg}svg")]
    plots = [one for one in drawn if one.get("role") == "img"]
    assert len(plots) == 10 and all(
        one.get("aria-hidden") == "true" for one in drawn if one not in plots
    )
    ids = [one.get("id") for one in tree.iter() if one.get("id")]
    assert len(ids) == len(set(ids))
    for one in plots:
        title, told = (
            one.find(f"{{http://www.w3.org/2000/svg}}{tag}") for tag in ("title", "desc")
        )
        assert (
            title.text
            and len(told.text) > 20
            and one.get("aria-labelledby") == f"{title.get('id')} {told.get('id')}"
        )
    assert (
        all(one.get("alt") for one in tree.iter("img"))
        and len(list(tree.iter("main"))) == len(list(tree.iter("h1"))) == 1
    )
    assert_links_stay(tree)
    targets = {
        value
        for one in plots
        for part in one.iter()
        for name, value in part.attrib.items()
        if (name[1] if isinstance(name, tuple) else name).endswith("href")
    }
    assert targets and all(value[1:] in ids for value in targets)


@pytest.mark.parametrize("colours", [LIGHT, DARK])
def test_every_text_reaches_the_contrast_of_4_5(colours):
    for text, ground in TEXT:
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for mark, ground in MARKS:
        assert contrast(colours[mark], colours[ground]) >= 3, (mark, ground)
    for mark in ("after", "ref"):
        assert contrast(colours["ink"], mixed(colours[mark], colours["bg"], SHADE)) >= 4.5


def test_no_colour_is_written_beside_the_palette(page):
    style = page[page.index("<style>") : page.index("</style>")]
    for colours in (LIGHT, DARK):
        for name, colour in colours.items():
            style = style.replace(f"--{name}: {colour};", "")
    assert not re.search(r"#[0-9a-f]{3,8}\b(?![^{]*\{)", re.sub(r"#[\w-]+ (?=t[hd])", "", style))
    assert not re.search(r"#0102[0-9a-f]{2}|rgb\(", page)
    drawn = "".join(
        re.findall(r'<svg class="plot.*?</svg>|<svg viewBox[^>]*class="plot.*?</svg>', page, re.S)
    )
    assert drawn and set(re.findall(r"(?:fill|stroke): (#[0-9a-f]+)", drawn)) <= set()


def test_the_same_audit_gives_the_same_page_in_another_process_that_draws_late(sample, page):
    code = (
        "import sys; from pathlib import Path; from unspan.report import html;"
        " from unspan.audit_record import stored; assert 'matplotlib' not in sys.modules;"
        " sys.stdout.buffer.write(html(stored.read(Path(sys.argv[1]))).encode())"
    )
    env = {
        "PYTHONPATH": os.pathsep.join([str(PACKAGE.parents[1]), *sys.path]),
        "PYTHONHASHSEED": "7",
        "PATH": "",
        "HOME": "/nonexistent",
    }
    other = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "data" / "audit-sample.json")],
        capture_output=True,
        check=True,
        env=env,
    )
    assert other.stdout.decode() == page == html(sample)


def test_markdown_says_the_same(sample):
    seen = markdown(sample).replace("\u00a0", " ").replace("\\", "")
    for needed in (
        "# Audit of a deletion: Named about as rarely as by guessing. Still in the scores",
        "- **SHA-256 of the file**: 9d9d",
        "Sees the answers: what is named, or found by a search",
        "83.3 % [80.8, 85.6], n = 1,000",
        "compatibility — not converged",
        "The audit caught 2 of 2 fakes",
        "Do not give the model file to others.",
        "“The data were deleted from the model.”",
        "C12.2.3",
        "| L0 | holds |",
    ):
        assert needed in seen
    for block in re.findall(r"(?:^\|.*\n)+", markdown(sample), re.M):
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(counts) == 1


# In a real browser

OVERLAPS = """
(() => {
  const boxes = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, host = node.parentElement;
    if (!node.data.trim() || host.closest('title, desc, .skip')) continue;
    if (!host.checkVisibility({contentVisibilityAuto: true})) continue;
    const head = host.closest('thead');  // for screen readers only, where cells name themselves
    if (head && getComputedStyle(head).clipPath !== 'none') continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const scroller = host.closest('.scroll');
    for (const r of range.getClientRects()) {
      const shrink = host.closest('svg') ? r.height * 0.22 : r.height * 0.12;
      const text = node.data.trim().slice(0, 40);
      const [l, right] = [r.left + .5, r.right - .5];
      const box = {l, r: right, t: r.top + shrink, b: r.bottom - shrink, s: text, scroller};
      if (box.r > box.l && box.b > box.t) boxes.push(box);
    }
  }
  boxes.sort((a, b) => a.t - b.t);
  const found = [];
  for (let i = 0; i < boxes.length; i++)
    for (let j = i + 1; j < boxes.length && boxes[j].t < boxes[i].b; j++)
      if (boxes[i].l < boxes[j].r && boxes[j].l < boxes[i].r)
        found.push(boxes[i].s + ' | ' + boxes[j].s);
  const width = document.documentElement.clientWidth + 1;
  const outside = boxes.filter(b => !b.scroller && (b.l < -1 || b.r > width))
    .map(b => 'outside: ' + b.s);
  return {count: boxes.length, found: found.concat(outside)};
})()
"""


@pytest.fixture(scope="module")
def browser():
    if BINARY is None:
        pytest.skip("no Chromium on this machine")
    found = Browser()
    yield found
    found.close()


@pytest.fixture(scope="module")
def pages(sample, page, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    long = copy.deepcopy(sample)
    names = [
        "x" * 300,
        "名前" * 150,
        "W" * 60,
        "\u202eabc" * 70,
        '"><img src=https://evil.example/x onerror=alert(1)>',
        "word " * 60,
        "שלום" * 70,
        "$\\frac{1}{0}$",
        "</svg><iframe src=https://evil.example>",
        "i",
    ]
    long["request"]["selector"] = names[:5]
    for key in ("cosine", "embedding"):
        long["figures"][key]["classes"] = names
    for one, name in zip(long["figures"]["per_class"], names, strict=True):
        one["name"] = name
    for one in long["accesses"]:
        one |= {"answer": "no", "trace": True, "guessing": 0.1, "low": 0.5, "unit": "share"}
    for i, one in enumerate(long["attacks"]):
        one["attack"] = names[i]
    for one in long["figures"]["layer_change"] + long["figures"]["sweep"]:
        one["layer"] = names[2] + one["layer"]
    texts = {
        "sample": page,
        "long": html(long),
        "empty": html({}),
        "poisoned": html(poisoned(sample, STRINGS)),
    }
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", ["sample", "long", "empty", "poisoned"])
def test_nothing_overlaps_overflows_or_leaves_the_page(browser, pages, name, width):
    browser.open(pages / f"{name}.html", width, 844 if width == 390 else 800)
    assert browser.js(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )
    seen = browser.js(OVERLAPS)
    assert seen["count"] > 60 and seen["found"] == []
    assert browser.js(CUT_TAGS) == []
    assert browser.requests() == [(pages / f"{name}.html").resolve().as_uri()]
    assert not [
        one
        for one in browser.events
        if one.get("method")
        in (
            "Log.entryAdded",
            "Runtime.exceptionThrown",
            "Runtime.consoleAPICalled",
            "Page.javascriptDialogOpening",
        )
    ]


CUT_TAGS = """[...document.querySelectorAll('.tag')]
    .filter(one => one.getBoundingClientRect().right
      > one.parentElement.getBoundingClientRect().right + 1)
    .map(one => one.textContent)"""


def test_the_checks_of_this_file_can_fail(browser, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<body><img src='http://evil.example/x.png'><div style='width: 3000px'>wide</div><p"
        " style='position: absolute; top: 0'>one</p><p style='position: absolute; top: 0'>two</p>"
    )
    browser.open(bad, 390, 844)
    assert browser.js(OVERLAPS)["found"] and "http://evil.example/x.png" in browser.requests()
    assert browser.js("document.documentElement.scrollWidth > document.documentElement.clientWidth")


def test_dark_screens_and_paper_have_their_own_colours(browser, pages):
    ground = "getComputedStyle(document.body).backgroundColor"
    browser.open(pages / "sample.html", scheme="dark")
    dark = browser.js(ground)
    browser.call(
        "Emulation.setEmulatedMedia",
        media="print",
        features=[{"name": "prefers-color-scheme", "value": "dark"}],
    )
    paper = browser.js(ground)
    browser.call("Emulation.setEmulatedMedia", media="", features=[])
    assert dark != paper == "rgb(255, 255, 255)"


def test_what_is_folded_is_printed(browser, pages):
    browser.open(pages / "sample.html")
    browser.js("document.querySelectorAll('details').forEach(one => one.open = false)")
    shown = (
        "getComputedStyle(document.querySelector('#record details'),"
        " '::details-content').contentVisibility"
    )
    assert browser.js(shown) == "hidden"
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.js(shown) == "visible"
    browser.call("Emulation.setEmulatedMedia", media="")
