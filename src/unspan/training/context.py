"""What a method that trains works with: the model copy, the data it declared, and what it
reports.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from unspan.data.inputs import place
from unspan.erasers import Eraser
from unspan.errors import DataError, UsageError
from unspan.extraction import FeatureLayer, eval_mode, forward, input_like, logits_of
from unspan.extraction.finite import check_inputs
from unspan.run import Run
from unspan.training.checkpoint import Checkpoint
from unspan.training.samples import Minibatch, Samples, generator


@dataclass(frozen=True)
class Outcome:
    """What a method did to the weights, as the receipt says it.

    The library counts itself what the method was given; a method says what it used of that.

    Attributes:
        report: figures of the method's own, as JSON values.
        warnings: for the user.
        history: a row for each epoch, as `train` returns it; empty where there are no epochs.
        forget_used: forget samples that decide the weights; None means all that were given.
        retained_used: the same of retained samples.
        head_input: map that the head's input goes through from now on; None leaves it as it is.
    """

    report: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    history: Sequence[dict[str, Any]] = ()
    forget_used: int | None = None
    retained_used: int | None = None
    head_input: Eraser | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingContext:
    """All that a method sees which changes weights: the copy of the model and its declared data.

    Attributes:
        model: changed in place.
        feature_layer: where its features and its head are.
        parts: data by name: `forget`, `retain`, `holdout`; only what the method declared.
        run: device, seed, progress.
        checkpoint: where epochs are kept for a resume.
        classes: outputs of the model.
        forgotten: class labels of the request, empty when it is of samples.
        frozen: names of the normalisation layers that keep their running statistics.
        labelled: the method reads labels, so that every sample must have one.
    """

    model: nn.Module
    feature_layer: FeatureLayer
    parts: dict[str, Any]
    run: Run
    checkpoint: Checkpoint
    classes: int
    forgotten: tuple[int, ...] = ()
    frozen: Collection[str] = ()
    labelled: bool = True
    _read: dict[tuple[str, ...], Samples] = field(default_factory=dict)

    def samples(self, *names: str) -> Samples:
        """One or more parts of the data, in this order, read once.

        Raises:
            UsageError: a part that the method did not declare, or that was not given.
        """
        for name in names:
            if self.parts.get(name) is None:
                raise UsageError(
                    f"This method needs {name} data"
                    + (
                        ", and the request has none: give the whole data (--data), not only what is"
                        " to be forgotten."
                        if name in self.parts
                        else ", which it does not declare."
                    )
                )
        if names not in self._read:
            found = Samples(
                [(self.parts[name], name == "forget") for name in names],
                self.run,
                what=f"{' and '.join(names)} data",
                labelled=self.labelled,
                check=partial(check_inputs, self.model, part=f"{' and '.join(names)} data"),
            )
            if int(found.y.max()) >= self.classes:
                raise DataError(
                    f"A label of the {' and '.join(names)} data is {int(found.y.max())}, and the"
                    f" model has {self.classes} outputs, 0 to {self.classes - 1}. Check the labels,"
                    " or the model."
                )
            self._read[names] = found
        return self._read[names]

    def fingerprint(self) -> str:
        """Hash of all samples the method may read, with their labels."""
        total = hashlib.sha256()
        for name in sorted(self.parts):
            samples = self.samples(name)
            total.update(name.encode() + bytes(samples.seen.digests) + samples.y.numpy().tobytes())
        return total.hexdigest()

    def stream(self, *names: Any) -> torch.Generator:
        """A stream of randomness of its own."""
        return generator(self.run.seed, *names)

    def head(self, *, changes: bool = False) -> nn.Linear:
        """The linear head.

        Args:
            changes: the method is going to change it.

        Raises:
            UsageError: there is none, or it would be changed and is frozen.
        """
        name = self.feature_layer.head
        module = None if name is None else self.model.get_submodule(name)
        if not isinstance(module, nn.Linear):
            raise UsageError(_no_linear_head(self.model, name))
        if changes and not all(one.requires_grad for one in module.parameters()):
            raise UsageError(
                f"This method changes the head '{self.feature_layer.head}', and its parameters"
                f" are frozen."
                " Call requires_grad_(True) on the head, or choose another method."
            )
        return module

    def scores(self, model: nn.Module, batch: Minibatch) -> Tensor:
        """Class scores `[n, C]`, float32."""
        return class_scores(model, batch.x)


def _no_linear_head(model: nn.Module, found: str | None) -> str:
    """What kind of last layer a method needs, what there is, and what to do."""
    others = "a method that takes any last layer, such as ssd, scrub or retrain (unspan methods)"
    kind = type(model).__name__
    if found is not None:
        return (
            f"This method needs an nn.Linear as the last layer, and '{found}' of {kind} is a"
            f" {type(model.get_submodule(found)).__name__}. Choose {others}, or build the model"
            " with nn.Flatten and an nn.Linear in its place, with the same weights."
        )
    return (
        "This method needs an nn.Linear as the last layer, and none was found that gives the scores"
        f" of {kind}. Choose {others}; or, where there is one, name it with feature_layer='NAME'."
    )


def class_scores(model: nn.Module, x: Any) -> Tensor:
    """Class scores `[n, C]` of a classifier, float32.

    Raises:
        UsageError: the model gives none.
    """
    found = logits_of(forward(model, place(x, input_like(model, x))))
    if found is None:
        raise UsageError(
            "This method trains a classifier, and the model gives no class scores; use method esc."
        )
    return found.flatten(1).float()


def accuracy_on(
    model: nn.Module, samples: Samples, index: Tensor | None = None, size: int = 256
) -> float:
    """Share of samples that the model names, in evaluation mode."""
    hits = count = 0
    with eval_mode(model):
        for batch in samples.minibatches(size, order=index):
            hits += int((class_scores(model, batch.x).argmax(1).cpu() == batch.y).sum())
            count += len(batch)
    return hits / max(count, 1)


def copied_state(model: nn.Module) -> dict[str, Tensor]:
    """Weights and buffers of a model, copied to the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


@contextmanager
def image_layout(model: nn.Module) -> Iterator[None]:
    """Weights with channels last while a network with convolutions trains: about 1.4 times as fast,
    on CPU and GPU.
    """
    if not any(isinstance(module, nn.Conv2d) for module in model.modules()):
        yield
        return
    place: Any = model.to  # torch leaves memory_format out of its types
    place(memory_format=torch.channels_last)
    yield
    place(memory_format=torch.contiguous_format)
