"""The index: what it lists, what it finds, and that nothing in it runs."""

import json
import subprocess
import sys

import html5lib
import pytest
from browser import BINARY, Browser
from ledger_folders import audit, deletion
from typer.testing import CliRunner

from unspan.cli import app
from unspan.errors import UsageError
from unspan.ledger.index import index
from unspan.ledger.page import html
from unspan.ledger.recording import add
from unspan.sealing.signing import new_key, sign

OTHER = "sha256:" + 64 * "b"


def text_of(page):
    """What a reader of a page sees."""
    body = html5lib.parse(page, namespaceHTMLElements=False).find("body")
    return " ".join(" ".join(body.itertext()).split())


@pytest.fixture
def home(tmp_path):
    """Two deletions, an audit of each of two models, and a ledger that names one of each."""
    home = tmp_path / "all"
    home.mkdir()
    deletion(home / "erased")
    deletion(home / "second", kind="samples", selector=["Ida-Secret"], weights=OTHER)
    audit(home / "audit")
    audit(home / "stranger", verdict="RETAINED", weights="sha256:" + 64 * "d")
    add(tmp_path / "l.db", home / "erased", who="Ida", note="first request")
    add(tmp_path / "l.db", home / "audit")
    return home


def test_a_folder_of_folders_and_a_ledger_are_listed(home, tmp_path):
    found = index([home], tmp_path / "l.db")
    assert found.wrong == []
    deletions, others, entries = found.tables
    assert [row[0][0].sub for row in deletions.rows] == ["erased", "second"]
    assert [row[3][0].text for row in deletions.rows] == ["LIKE RETRAINED", "none"]
    assert [row[-1][0].text for row in deletions.rows] == ["entry 1", "no entry"]
    assert [row[0][0].sub for row in others.rows] == ["stranger"]
    assert [row[0][0].text for row in entries.rows] == ["1", "2"]
    assert found.open == [
        "second has no audit on this page",
        "stranger says RETAINED",
        "second is named by no entry of the ledger",
        "stranger is named by no entry of the ledger",
    ]
    seen = text_of(html(found))
    for said in ("by class deer, 1,200 samples", "of samples, 1,200 samples", "first request"):
        assert said in seen
    assert "No change was found" in seen and "What this page does not cover" in seen


def test_no_path_and_nobody_is_named(home, tmp_path):
    page = html(index([home], tmp_path / "l.db"))
    assert "Ida" not in page and str(tmp_path) not in page and "secret-path" not in page
    (home / "erased" / "README.md").unlink()
    (home / "audit" / "manifest.json").write_text("{}")
    page = html(index([home], tmp_path / "l.db"))
    assert str(tmp_path) not in page and "Does not hold" in page


def test_what_was_changed_is_said_and_not_repeated(home, tmp_path):
    receipt = json.loads((home / "erased" / "receipt.json").read_text())
    receipt["method"]["name"] = "retrain-for-real"
    (home / "erased" / "receipt.json").write_text(json.dumps(receipt))
    content = json.loads((home / "audit" / "audit.json").read_text())
    content["verdict"] = "BELOW RETRAINED"
    (home / "audit" / "audit.json").write_text(json.dumps(content))
    found = index([home], tmp_path / "l.db")
    assert len(found.wrong) == 2 and "receipt.json was changed" in found.wrong[0]
    seen = text_of(html(found))
    assert [row[3][0].text for row in found.tables[0].rows] == ["none", "none"]
    assert "retrain-for-real" not in seen and "BELOW RETRAINED" not in seen


@pytest.mark.parametrize("content", ["{", "[]", '{"created": 1}', "[" * 100_000])
def test_damaged_files_are_rows(home, content):
    (home / "erased" / "receipt.json").write_text(content)
    (home / "audit" / "audit.json").write_text(content)
    found = index([home])
    assert len(found.wrong) == 2
    html(found)


def test_a_folder_without_a_seal_is_open_and_a_link_is_wrong(home, tmp_path):
    (home / "erased" / "manifest.json").unlink()
    (home / "audit" / "audit.json").rename(tmp_path / "aside")
    (home / "audit" / "audit.json").symlink_to(tmp_path / "aside")
    found = index([home])
    assert "erased has no seal" in found.open and len(found.wrong) == 1


def test_signatures_are_checked_with_the_key(home, tmp_path):
    public = new_key(tmp_path / "me.pem")
    sign(home / "erased", tmp_path / "me.pem")
    unknown = index([home / "erased"])
    assert "the signature of erased is not checked" in unknown.open[0] and not unknown.wrong
    found = index([home / "erased"], key=public)
    assert not found.wrong and found.tables[0].rows[0][5][0].text == "signed"
    assert len(index([home / "erased", home / "second"], key=public).wrong) == 1  # not signed
    other = new_key(tmp_path / "other.pem")
    assert "no signature of the key" in index([home / "erased"], key=other).wrong[0]


def test_a_ledger_that_does_not_hold_is_said(home, tmp_path):
    file = tmp_path / "l.db"
    file.write_bytes(file.read_bytes().replace(b"first request", b"first reqwest"))
    found = index([home], file)
    assert found.wrong == ["the content of entry 1 was changed"]


def test_what_is_nothing_is_refused(tmp_path):
    for given in ([], [tmp_path], [tmp_path / "nothing"]):
        with pytest.raises(UsageError):
            index(given)
    with pytest.raises(UsageError):
        index([], tmp_path / "nothing.db")


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style><svg onload=alert(1)>",
    "{{ 7 * 7 }}",
    "\u202eevil\u2066",
    "a\x00b\x1b[31m",
    "&lt;b&gt;",
    "x" * 5000,
]


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name[:20]))
def test_hostile_names_are_text(tmp_path, name):
    folder = deletion(tmp_path / "erased", selector=[name], method=name)
    report = audit(tmp_path / "audit", verdict=name)
    add(tmp_path / "l.db", folder, note=name[:2000])
    page = html(index([folder, report], tmp_path / "l.db"))
    tree = html5lib.HTMLParser(strict=True).parse(page)
    tags = {one.tag.rpartition("}")[2] for one in tree.iter() if isinstance(one.tag, str)}
    assert not tags & {"script", "img", "svg", "a", "iframe", "object", "form", "link", "base"}
    assert not any(key.startswith("on") for one in tree.iter() for key in one.attrib)
    assert not any(one in page for one in "\u202e\u2066\x00\x1b")


def run(*arguments, **given):
    return CliRunner().invoke(app, [*map(str, arguments)], **given)


def test_the_command_writes_over_its_own_page_alone(home, tmp_path):
    out, ledger = tmp_path / "index.html", tmp_path / "l.db"
    done = run("index", home, "--ledger", ledger, "--out", out)
    assert done.exit_code == 0, done.output
    assert run("index", home, "--out", out).exit_code != 0
    assert run("index", home, "--out", out, "--overwrite").exit_code == 0
    out.write_text("mine")
    assert run("index", home, "--out", out, "--overwrite").exit_code != 0
    assert out.read_text() == "mine"
    for place in (home / "erased" / "index.html", ledger, home / "erased"):
        assert isinstance(
            run("index", home, "--ledger", ledger, "--out", place).exception, Exception
        )
    (home / "erased" / "README.md").write_text("changed")
    done = run("index", home, "--out", tmp_path / "other.html")
    assert done.exit_code == 1 and (tmp_path / "other.html").exists()


def test_the_commands_of_a_ledger(home, tmp_path):
    file = tmp_path / "new.db"
    added = run("ledger", "add", file, home / "erased", "--who", "-", input="Ada\n")
    assert added.exit_code == 0, added.output
    assert run("ledger", "add", file, "--note", "=1+1").exit_code == 0
    assert isinstance(run("ledger", "add", file).exception, UsageError)
    assert isinstance(run("ledger", "add", file, "--note", "x", "--who", "-").exception, UsageError)
    shown = json.loads(run("ledger", "show", file, "--json").stdout)
    assert [one["kind"] for one in shown] == ["deletion", "note"]
    mine = json.loads(run("ledger", "show", file, "--who", "ADA", "--json").stdout)
    assert [one["number"] for one in mine] == [1]
    assert "by class deer" in " ".join(run("ledger", "show", file).stdout.split())
    head = shown[-1]["hash"]
    assert run("ledger", "verify", file, "--head", head).exit_code == 0
    assert run("ledger", "verify", file, "--head", "sha256:0").exit_code == 1
    out = tmp_path / "e.json"
    assert run("ledger", "export", file, "--out", out).exit_code == 0
    assert run("ledger", "verify", out, "--head", head).exit_code == 0
    assert run("ledger", "purge", file, "--entry", "2", "--dry-run").exit_code == 0
    assert run("ledger", "verify", file, "--head", head).exit_code == 0
    assert run("ledger", "purge", file, "--private", home / "erased", "--key").exit_code == 0
    assert run("ledger", "verify", file).exit_code == 0
    file.write_bytes(file.read_bytes().replace(b"=1+1", b"=1+2"))
    assert run("ledger", "verify", file).exit_code == 1
    assert run("ledger", "show", file).exit_code == 1


def test_all_of_it_works_without_torch(home, tmp_path):
    code = (
        "import sys; from pathlib import Path; from typer.testing import CliRunner;"
        "from unspan.cli import app; home = Path(sys.argv[1]); ledger = str(home / 'l.db');"
        "run = lambda *a: CliRunner().invoke(app, a).exit_code;"
        "assert run('ledger', 'add', ledger, str(home / 'all/second'), '--who', 'x') == 0;"
        "assert run('ledger', 'verify', ledger) == 0;"
        "assert run('ledger', 'export', ledger, '--out', str(home / 'e.csv')) == 0;"
        "assert run('index', str(home / 'all'), '--ledger', ledger, '--out',"
        " str(home / 'i.html')) == 0;"
        "assert run('ledger', 'purge', ledger, '--private', str(home / 'all/second')) == 0;"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True)


@pytest.mark.slow
@pytest.mark.skipif(BINARY is None, reason="no Chromium is installed")
def test_a_browser_shows_the_page_and_asks_for_nothing(home, tmp_path):
    deletion(home / "long", selector=["n" * 180], method="m" * 180)
    out = tmp_path / "index.html"
    out.write_text(html(index([home], tmp_path / "l.db")))
    browser = Browser()
    try:
        for width in (320, 390, 768, 1280):
            for scheme in ("light", "dark"):
                browser.open(out, width=width, scheme=scheme)
                assert browser.requests() == [out.as_uri()]
                wide = browser.js("document.documentElement.scrollWidth")
                assert wide <= width, (width, wide)
                assert not [
                    one for one in browser.events if one.get("method") == "Log.entryAdded"
                ], browser.events
        ground = browser.js("getComputedStyle(document.body).backgroundColor")
        assert ground == "rgb(18, 22, 27)"
        browser.pdf(tmp_path / "page.pdf")
        assert (tmp_path / "page.pdf").stat().st_size > 10_000
    finally:
        browser.close()
