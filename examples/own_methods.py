"""Two methods of your own: one fits a map on the features, one changes the weights.

unspan bench table1a --budget smoke --method python:examples/own_methods.py:MeanDifference
unspan bench table1a --budget smoke --method python:examples/own_methods.py:EvenGuess
"""

from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

import torch

from unspan.erasers import Projection
from unspan.methods import EraserMethod, Fit, FitContext, Outcome, TrainedMethod
from unspan.training.context import TrainingContext


@dataclass(frozen=True, kw_only=True)
class MeanDifference(EraserMethod):
    """Removes the direction between the mean of the forget features and that of the others."""

    name: ClassVar[str] = "mean-difference"
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "retain"})

    def fit(self, context: FitContext) -> Fit:
        """Both parts arrive in batches of features `[n, d]` and labels `[n]`."""
        forget, retain = (
            torch.cat([features.double() for features, _ in part]).mean(0)
            for part in (context.forget, context.require_retain())
        )
        direction = torch.nn.functional.normalize(forget - retain, dim=0)
        return Fit(Projection(direction[:, None]))


@dataclass(frozen=True, kw_only=True)
class EvenGuess(TrainedMethod):
    """Trains the forget samples towards an even guess; trials choose from `search`."""

    lr: float = 1e-2
    steps: int = 100
    name: ClassVar[str] = "even-guess"
    search: ClassVar[dict[str, tuple[Any, ...]]] = {"lr": (1e-2, 1e-3, 1e-1)}
    needs: ClassVar[frozenset[str]] = frozenset({"forget"})

    def unlearn(self, context: TrainingContext) -> Outcome:
        """Change `context.model` in place."""
        optimiser = torch.optim.SGD(context.model.parameters(), lr=self.lr)
        batches = context.samples("forget").endless(64, context.stream("order"))
        context.model.eval()  # running statistics of normalisation stay as they are
        for batch in islice(batches, self.steps):
            optimiser.zero_grad()
            (-context.scores(context.model, batch).log_softmax(1).mean()).backward()
            optimiser.step()
        return Outcome()
