"""Which names of classes a receipt holds."""

from types import SimpleNamespace

import pytest

from unspan.cli.measuring import public_names
from unspan.data.request import Request

NAMES = ["ant", "bee"]


@pytest.mark.parametrize(
    ("kind", "own", "asked", "expected"),
    [
        ("class", None, None, NAMES),
        ("class", ["a", "b"], None, ["a", "b"]),
        ("ids", None, None, None),
        ("data", NAMES, "people/bee", None),
        ("data", NAMES, "people/cat", NAMES),
    ],
)
def test_names_are_those_of_the_model_else_of_the_data_of_a_class_request(
    kind, own, asked, expected
):
    opened = SimpleNamespace(class_names=own)
    sources = {"train": SimpleNamespace(class_names=NAMES)}
    request = Request(forget=[0], kind=kind)
    assert public_names({"forget_data": asked}, opened, request, sources) == expected
