"""Changed defaults raise the revision of a method, so that kept results are not taken for new."""

from hashlib import sha256

import pytest

from unspan.benchmark.grid import Cell
from unspan.benchmark.third_party import code_of
from unspan.methods.builtin import METHODS

# revision, and a digest of the defaults and of what is searched
KNOWN = {
    "bad-teaching": (1, "b11e50259a5b"),
    "bake": (2, "26fa6b15d9c2"),
    "boundary": (1, "0170526cb1a8"),
    "cf-k": (1, "9b83fdea7e07"),
    "cmf": (1, "df94e20d36e2"),
    "damp": (1, "c9920d1e7a1c"),
    "dlfd": (1, "fbe24fbafd38"),
    "esc": (1, "ee3d983451fa"),
    "esc-t": (1, "dd4b8a4cd8a9"),
    "eu-k": (1, "cc0a5274f3f1"),
    "finetune": (1, "4583b295012e"),
    "fisher": (1, "20b7e185632e"),
    "l1-sparse": (1, "cac43f171bbc"),
    "lau": (1, "ce16c29e6456"),
    "leace": (1, "df939a604707"),
    "lfssd": (1, "afba33ec85a6"),
    "neggrad": (1, "69cd161add67"),
    "neggrad-plus": (1, "fba3905b1f6d"),
    "pour-d": (1, "332d5dfb51c9"),
    "pour-p": (1, "b2c47d04d0c8"),
    "random-labels": (1, "6b6680de558c"),
    "redraw": (1, "78f9e3d5eca5"),
    "resample": (2, "1b7a5cb7d6e0"),
    "retrain": (1, "dbafd71edee0"),
    "salun": (1, "c6fe113b79f6"),
    "scrub": (1, "eac81ab4a0d9"),
    "ssd": (1, "90825bc46718"),
    "svd": (1, "8f29a9ce9c5d"),
}


@pytest.mark.parametrize("kind", METHODS, ids=lambda kind: kind.name)
def test_other_defaults_are_another_revision(kind):
    digest = sha256(repr((kind(), dict(kind.search))).encode()).hexdigest()[:12]
    assert (kind.revision, digest) == KNOWN[kind.name], (
        f"The defaults of {kind.name} changed: raise its revision if results change with them, and"
        f" write ({kind.revision}, '{digest}') with the new revision here."
    )


def cell():
    return Cell(
        data="digits",
        model="python:unspan.zoo:wide_digits",
        train={},
        request={"classes": [4]},
        method="esc",
        code=code_of("esc"),
    )


def test_a_revision_gets_cells_and_trials_of_its_own(monkeypatch):
    esc = next(kind for kind in METHODS if kind.name == "esc")
    first = cell()
    monkeypatch.setattr(esc, "revision", 2)
    second = cell()
    assert first.code == "" and second.code == "revision 2"
    assert first.id != second.id
    assert "code" not in first.record() and second.record()["code"] == "revision 2"
