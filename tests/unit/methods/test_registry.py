"""Methods of other packages and of files: found by name, and harmless when they are broken."""

import textwrap
import warnings
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from typing import ClassVar

import pytest
import torch
from typer.testing import CliRunner

import unspan
from unspan.artifact.card import card
from unspan.cli import app
from unspan.erasers import Projection
from unspan.errors import UsageError
from unspan.methods import METHODS, EraserMethod, Fit, FitContext, by_name, registered, registry

CODE = '''
"""Mean: remove the direction of the mean forget feature.

Idea: one direction.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from unspan.erasers import Projection
from unspan.methods import EraserMethod, Fit


@dataclass(frozen=True, kw_only=True)
class Mean(EraserMethod):
    """Settings of mean."""

    scale: float = 1.0
    name: ClassVar[str] = "mean"
    needs: ClassVar[frozenset[str]] = frozenset({"forget"})

    def fit(self, context):
        features = [z.double() for z, _ in context.forget]
        total = sum(z.sum(0) for z in features)
        basis = (total / total.norm())[:, None]
        return Fit(Projection(basis))


def make():
    return Mean


def broken():
    raise RuntimeError("no luck")


@dataclass(frozen=True)
class Taken(Mean):
    name: ClassVar[str] = "esc"


def taken():
    return Taken


@dataclass(frozen=True)
class Nameless(Mean):
    scale: float = 2.0


@dataclass(frozen=True)
class Greedy(Mean):
    name: ClassVar[str] = "greedy"
    needs: ClassVar[frozenset[str]] = frozenset({"everything"})


@dataclass(frozen=True)
class Unset(Mean):
    rank: int = None
    name: ClassVar[str] = "unset"

    def __post_init__(self):
        if self.rank is None:
            raise TypeError("rank is missing")


class Plain(EraserMethod):
    name = "plain"


@dataclass(frozen=True)
class Wrong(Mean):
    answer: str = "number"
    name: ClassVar[str] = "wrong"

    def fit(self, context):
        made = super().fit(context)
        if self.answer == "number":
            return 3
        if self.answer == "eraser":
            return made.eraser
        if self.answer == "tensor":
            return replace(made, report={"mean": made.eraser.basis})
        if self.answer == "text":
            return replace(made, warnings="look out")
        return made.ghost
'''


@pytest.fixture
def third_party(tmp_path, monkeypatch):
    """A package with entry points, given as `third_party(name=attribute, ...)`."""
    (tmp_path / "other_package.py").write_text(textwrap.dedent(CODE), "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def install(**points):
        found = [
            EntryPoint(name, f"other_package:{attribute}", registry.GROUP)
            for name, attribute in points.items()
        ]
        monkeypatch.setattr(registry, "entry_points", lambda group: found)
        registry._of_packages.cache_clear()

    yield install
    registry._of_packages.cache_clear()


def test_a_method_of_another_package_is_one_of_all(third_party, digits_net, digits_request):
    third_party(mean="Mean")
    assert registered()[: len(METHODS)] == METHODS
    assert [method.name for method in registered()[len(METHODS) :]] == ["mean"]
    method = by_name("mean")
    assert "remove the direction of the mean" in CliRunner().invoke(app, ["methods"]).output
    assert "scale" in CliRunner().invoke(app, ["methods", "mean"]).output
    from unspan.benchmark.spec_text import _fits

    assert _fits("a list of methods", ["mean", "esc"])
    done = unspan.erase(digits_net, digits_request, method(), measure=False)
    assert done.receipt["method"] == {
        "name": "mean",
        "settings": {"scale": 1.0},
        "fit": done.receipt["method"]["fit"],
    }


@pytest.mark.parametrize(
    ("attribute", "why"),
    [
        ("missing", "AttributeError"),
        ("make", "give a class that derives from"),
        ("Taken", "there is a method 'esc' already, unspan.methods.esc.ESC; give Taken another"),
        ("Nameless", "needs a name of its own"),
        ("Greedy", "needs has everything"),
        ("Unset", "Give every setting a default"),
        ("Plain", "must be a frozen dataclass"),
    ],
)
def test_a_broken_entry_point_is_named_and_the_others_stay(third_party, attribute, why):
    third_party(bad=attribute, mean="Mean")
    with pytest.warns(UserWarning, match=f"Method 'bad'.*left out: .*{why}"):
        found = registered()
    assert [method.name for method in found] == [*(one.name for one in METHODS), "mean"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert by_name("mean") in registered()  # said once


def test_built_in_methods_need_no_look_at_other_packages(monkeypatch):
    monkeypatch.setattr(registry, "registered", lambda: pytest.fail("packages were asked"))
    assert all(by_name(method.name) is method for method in METHODS)


def test_a_method_can_be_given_by_file_module_or_function(third_party):
    third_party()
    for spec in (
        "python:other_package.py:Mean",
        "python:other_package:Mean",
        "python:other_package:make",
    ):
        assert by_name(spec).name == "mean"


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("python:other_package", "names no class"),
        ("python:absent:Mean", "cannot be imported: ModuleNotFoundError"),
        ("python:other_package:absent", "has no absent"),
        ("python:other_package:broken", "RuntimeError: no luck"),
        ("python:other_package:Maen", "Did you mean Mean or"),
        ("python:other_package.py", "write python:other_package.py:CLASS"),
        ("python:absent.py:Mean", "no file absent.py here"),
        ("python:other_package:CODE_", "has no CODE_"),
        ("python:other_package:Plain", "frozen dataclass"),
        ("mean", "Unknown method 'mean'."),
        (
            "python:other_package:Taken",
            "a method 'esc' already, unspan.methods.esc.ESC; give Taken",
        ),
        ("python:other_package.py:taken", "a method 'esc' already, unspan.methods.esc.ESC"),
    ],
)
def test_what_is_no_method_says_why(third_party, spec, why):
    third_party()
    with pytest.raises(UsageError) as caught:
        by_name(spec)
    assert why in str(caught.value)


def test_a_class_of_this_library_may_be_given_by_its_place():
    assert by_name("python:unspan.methods:ESC") is unspan.ESC


@dataclass(frozen=True, kw_only=True)
class First(EraserMethod):
    """Removes the first feature, and looks at all it is given."""

    name: ClassVar[str] = "first"
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "retain"})

    def fit(self, context: FitContext) -> Fit:
        read = sum(len(z) for z, _ in context.forget)
        kept = 0 if context.retain is None else sum(len(z) for z, _ in context.retain)
        basis = torch.eye(context.dim, dtype=torch.float64)[:, :1]
        return Fit(Projection(basis), {"read": read}, retained_used=kept)


@dataclass(frozen=True, kw_only=True)
class Undeclared(First):
    """Reads the retain set without saying so."""

    name: ClassVar[str] = "undeclared"
    needs: ClassVar[frozenset[str]] = frozenset({"forget"})

    def fit(self, context: FitContext) -> Fit:
        context.require_retain()
        return super().fit(context)


def test_a_method_that_did_not_declare_the_retain_set_is_told_to(digits_net, digits_request):
    both = 'Add "retain" to `needs` of the method; in a FitContext of your own, give retain='
    with pytest.raises(UsageError, match=both):
        unspan.erase(digits_net, digits_request, Undeclared(), measure=False)
    with pytest.raises(UsageError, match=both):
        Undeclared().fit(FitContext.from_tensors(torch.randn(5, 4)))


def test_a_context_is_complete_from_tensors_and_frozen():
    z, y = torch.randn(10, 4), torch.arange(10) % 2
    context = FitContext.from_tensors(
        z, y, retain=torch.randn(7, 4), classes=(1,), key=b"k", batch_size=3
    )
    assert (context.dim, context.forget.total, context.retain.total) == (4, 10, 7)
    batches = list(context.forget)
    assert torch.equal(torch.cat([part for part, _ in batches]), z)
    assert torch.equal(torch.cat([labels for _, labels in batches]), y)
    assert [len(part) for part, _ in batches] == [3, 3, 3, 1]
    assert context.forget.samples_read == 10 and context.retain.samples_read == 0
    assert First().fit(context).report == {"read": 10}
    assert First().fit(context).retained_used == 7
    with pytest.raises(AttributeError):
        context.key = b"other"


def test_an_object_that_is_no_method_is_refused(digits_net, digits_request):
    for wrong in (unspan.ESC, object(), "esc"):
        with pytest.raises(UsageError, match="is not a method"):
            unspan.erase(digits_net, digits_request, wrong)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("number", r"must return Fit\(...\) of unspan.methods, and it returned 3 \(int\)"),
        ("eraser", r"must return Fit\(...\) of unspan.methods, and it returned Projection"),
        ("tensor", r"the report of Fit is not .*float\(x\) for a tensor"),
        ("text", r"a tuple of texts as warnings, and it got report=\{\} and warnings='look out'"),
    ],
)
def test_a_method_of_the_user_that_gives_no_fit_is_named_with_its_file(
    third_party, digits_net, digits_request, answer, why
):
    third_party()
    method = by_name("python:other_package.py:Wrong")(answer=answer)
    with pytest.raises(UsageError, match=rf"^other_package.py: Wrong.fit.* {why}"):
        unspan.erase(digits_net, digits_request, method, measure=False)


@dataclass(frozen=True, kw_only=True)
class Miscounting(First):
    """Says a number of samples that is not true."""

    name: ClassVar[str] = "miscounting"

    def fit(self, context: FitContext) -> Fit:
        return replace(super().fit(context), report={"samples": 1, "gated": 0.5})


def test_the_receipt_counts_what_was_read_and_takes_what_was_used(digits_net, digits_request):
    done = unspan.erase(digits_net, digits_request, Miscounting(), measure=False)
    kept = len(digits_request.retain)
    assert done.receipt["method"]["fit"] == {
        "samples": len(digits_request.forget),
        "dim": done.receipt["placement"]["feature_layer"]["dim"],
        "retained_read": kept,
        "retained_used": kept,
        "gated": 0.5,
    }
    assert "1 to keep" not in card(done.receipt) and f"{kept} to keep" in card(done.receipt)
