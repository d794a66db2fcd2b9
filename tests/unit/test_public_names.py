"""What `import unspan` offers."""

from __future__ import annotations

import pytest

import unspan
from unspan.data.request import Request


def test_every_public_name_is_there_and_there_are_about_a_dozen() -> None:
    assert len(unspan.__all__) <= 15
    assert all(getattr(unspan, name) is not None for name in unspan.__all__)
    with pytest.raises(AttributeError, match="no attribute 'ghost'"):
        unspan.ghost  # noqa: B018


@pytest.mark.parametrize("name", ["Splits", "ESCT", "METHODS", "LinearMap", "Projection"])
def test_former_names_are_found_and_not_offered(name: str) -> None:
    assert getattr(unspan, name) is not None
    assert name not in unspan.__all__


def test_splits_is_the_former_name_of_request() -> None:
    assert unspan.Splits is unspan.Request is Request
