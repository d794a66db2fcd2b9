"""The method of a request that names none, from what is asked and against whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unspan import dist
from unspan.data.request import Request
from unspan.errors import UsageError
from unspan.methods.bake import Bake
from unspan.methods.base import Method
from unspan.methods.esc import ESC
from unspan.methods.redraw import Redraw
from unspan.methods.resample import Resample
from unspan.system.against import Against


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What decides which methods come into question.

    Attributes:
        classes: whole classes are to be forgotten.
        keeps: there are data to keep.
        embeds: the model gives embeddings and no class scores.
        one_pass: methods that fit a map on features can put it where they want: one process, the
            projected form, and no earlier request by ESC.
    """

    classes: bool
    keeps: bool
    embeds: bool
    one_pass: bool

    @classmethod
    def of(
        cls,
        request: Request,
        form: str = "projected",
        earlier: Mapping[str, Any] | None = None,
        embeds: bool = False,
    ) -> Situation:
        """The situation of a request.

        Args:
            request: the request.
            form: as in `erase`.
            earlier: the receipt of the request before.
            embeds: the model gives embeddings and no class scores.
        """
        stays = earlier is not None and earlier["method"]["name"] == ESC.name
        return cls(
            classes=bool(request.classes),
            keeps=request.retain is not None,
            embeds=embeds,
            one_pass=form == "projected" and dist.launched() == 1 and not stays,
        )

    def candidates(self) -> tuple[type[Method], ...]:
        """Methods for the situation, the cheapest first."""
        if not self.keeps:
            return (ESC,)
        if self.embeds:
            return (Redraw,) if self.one_pass else (ESC,)
        if self.classes:
            return (Resample if self.one_pass else ESC, Bake)
        return (ESC,)

    def method_against(self, against: Against) -> type[Method] | None:
        """The first method that holds against somebody; None where none that we know of does."""
        for one in self.candidates():
            if one.holds_against is not None and one.holds_against.covers(against):
                return one
        return None

    def recommended(self, against: Against | None = None) -> type[Method]:
        """The method class for a request that names none (docs/which-method.md).

        Args:
            against: whom it is to hold against; None takes the cheapest method.

        Raises:
            UsageError: no method that we know of holds against them.
        """
        if against is None:
            return self.candidates()[0]
        found = self.method_against(against)
        if found is None:
            raise UsageError(
                f"Nothing we know of holds against {against} for this request: train the network"
                f" again without the samples ({self._instead()}). Or leave against out: the plan"
                " of a dry run says what is left open."
            )
        return found

    def _instead(self) -> str:
        """How to train again, or what is missing for it."""
        if not self.keeps:
            return "--method retrain with the whole data; here there are only those to forget"
        if self.embeds:
            return "which helps only where the network learned from them"
        return "--method retrain"


def check_against(method: Method, against: Against | None) -> None:
    """Refuse a method that is not known to hold against somebody.

    Raises:
        UsageError: it is not.
    """
    if against is None:
        return
    held = method.holds_against
    if held is None or not held.covers(against):
        known = "nobody in particular" if held is None else f"{held} at most"
        raise UsageError(
            f"{method.name} was measured to hold against {known}, and against={against} is asked:"
            " leave the method out, or leave against out."
        )
