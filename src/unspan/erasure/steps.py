"""The steps of `erase`, as it reports them."""

from __future__ import annotations

from unspan.methods import Method, TrainedMethod
from unspan.system.steps import Step

LOCATE = Step("finding the features")
FIT = Step("reading and fitting")
INSTALL = Step("trying the new model")
READ = Step("reading data to forget")
TRAIN = Step("training")
MEASURE = Step("measuring what others lose")


def planned(method: Method, *, measure: bool) -> tuple[Step, ...]:
    """All steps of an erasure, in order.

    Args:
        method: with its settings.
        measure: whether the model before and after are compared.
    """
    work = (READ, TRAIN) if isinstance(method, TrainedMethod) else (LOCATE, FIT, INSTALL)
    return (*work, MEASURE) if measure else work
