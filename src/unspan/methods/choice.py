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
from unspan.methods.neggrad_plus import NegGradPlus
from unspan.methods.redraw import Redraw
from unspan.methods.resample import Resample
from unspan.methods.retrain import Retrain
from unspan.system.against import Against


@dataclass(frozen=True)
class Candidate:
    """A method that comes into question.

    Attributes:
        method: its class.
        against: the strongest that it was measured to hold against (docs/which-method.md); None
            for nobody in particular.
    """

    method: type[Method]
    against: Against | None = None

    def holds(self, against: Against) -> bool:
        """Whether it was measured to hold against somebody."""
        return self.against is not None and self.against.covers(against)


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What decides which methods come into question.

    Attributes:
        classes: whole classes are to be forgotten.
        keeps: there are data to keep.
        embeds: the model gives embeddings and no class scores.
        labelled: the samples to forget have labels.
        one_pass: methods that fit a map on features can put it where they want: the projected form,
            and no earlier request by ESC.
        alone: there is one process; not every network trains in several.
        mapped: an earlier request placed a map on the features.
        statistics: statistics stand for the data to keep.
    """

    classes: bool
    keeps: bool
    embeds: bool = False
    labelled: bool = False
    one_pass: bool = True
    alone: bool = True
    mapped: bool = False
    statistics: bool = False

    @classmethod
    def of(
        cls,
        request: Request,
        form: str = "projected",
        earlier: Mapping[str, Any] | None = None,
        *,
        embeds: bool = False,
        labelled: bool = False,
        statistics: bool = False,
    ) -> Situation:
        """The situation of a request.

        Args:
            request: the request.
            form: as in `erase`.
            earlier: the receipt of the request before.
            embeds: the model gives embeddings and no class scores.
            labelled: the samples to forget have labels.
            statistics: statistics stand for the data to keep.
        """
        stays = earlier is not None and earlier["method"]["name"] == ESC.name
        return cls(
            classes=bool(request.classes),
            keeps=request.retain is not None,
            embeds=embeds,
            labelled=labelled,
            statistics=statistics,
            one_pass=form == "projected" and not stays,
            alone=dist.launched() == 1,
            mapped=earlier is not None and earlier["placement"]["kind"] != "trained",
        )

    def candidates(self) -> tuple[Candidate, ...]:
        """Methods for the situation, the cheapest first."""
        if self.embeds and (self.keeps or self.statistics) and self.one_pass:
            return (Candidate(Redraw, Against.OUTPUTS),)
        if self.embeds and not self.statistics:
            return (Candidate(ESC),)
        if self.statistics and not self.classes:
            return (Candidate(Resample),)
        if self.classes:
            first = Candidate(ESC)
            if self.statistics or (self.keeps and self.one_pass):
                first = Candidate(Resample, Against.FEATURES)
            return (first, Candidate(Bake, Against.QUERIES)) if self.keeps else (first,)
        if self.keeps and self.labelled and self.one_pass and self.alone and not self.mapped:
            return (Candidate(NegGradPlus),)
        return (Candidate(ESC),)

    def method_against(self, against: Against) -> type[Method] | None:
        """The first method that holds against somebody; None where none that we know of does."""
        for one in self.candidates():
            if one.holds(against):
                return one.method
        return None

    def recommended(self, against: Against | None = None) -> type[Method]:
        """The method class for a request that names none (docs/which-method.md).

        Args:
            against: whom it is to hold against; None takes the cheapest method.

        Raises:
            UsageError: no method that we know of holds against them.
        """
        if against is None:
            return self.candidates()[0].method
        found = self.method_against(against)
        if found is None:
            raise UsageError(
                f"Nothing we know of holds against {against} for this request: train the network"
                f" again without the samples ({self._instead()}). Or leave against out: the plan"
                " of a dry run says what is left open."
            )
        return found

    def held_by(self, method: type[Method]) -> Against | None:
        """The strongest that a method was measured to hold against here; None for nobody."""
        if method is Retrain:
            return Against.WEIGHTS
        return {one.method: one.against for one in self.candidates()}.get(method)

    def check(self, method: type[Method], against: Against) -> None:
        """Refuse a method that is not known to hold against somebody.

        Raises:
            UsageError: it is not.
        """
        held = self.held_by(method)
        if held is not None and held.covers(against):
            return
        known = "nobody in particular" if held is None else f"{held} at most"
        raise UsageError(
            f"{method.name} was measured to hold against {known} for such a request, and"
            f" against={against} is asked: leave the method out, or leave against out."
        )

    def _instead(self) -> str:
        """How to train again, or what is missing for it."""
        if not self.keeps:
            return "--method retrain with the whole data; here there are only those to forget"
        if self.embeds:
            return "which helps only where the network learned from them"
        return "--method retrain"
