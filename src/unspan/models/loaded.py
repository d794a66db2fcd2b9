"""A model as it was built: what feeds it, what builds it again, and whether it can be used as it
is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from unspan.errors import ModelError
from unspan.models.libraries import is_sentence_transformer

if TYPE_CHECKING:
    from unspan.data.preprocess import Preprocess, TextPreprocess


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model in evaluation mode, with what is needed to feed it and to build it again.

    Attributes:
        model: The network, weights loaded.
        recipe: JSON values from which `rebuild` makes the architecture again, without weights.
        preprocess: What turns one image or text into an input; None when the source does not say.
        class_names: Name of each output, or None when the source has no meaningful ones.
        notices: What was changed or inferred on the way, for the user to read.
    """

    model: nn.Module
    recipe: dict[str, Any]
    preprocess: Preprocess | TextPreprocess | None
    class_names: list[str] | None
    notices: list[str] = field(default_factory=list)


def classes_of(model: nn.Module) -> int | None:
    """Number of classes a classifier gives, read from its config or its last linear layer; None
    when unknown.
    """
    said = stated_classes(model)
    if said is not None or is_sentence_transformer(model):
        return said
    heads = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    return heads[-1].out_features if heads else None


def stated_classes(model: nn.Module) -> int | None:
    """The number of classes in the config of a transformers model, or in `num_classes`, as models
    of timm have it.
    """
    if is_sentence_transformer(model):  # the config is that of its network, without the head
        return None
    inner = getattr(model, "_orig_mod", model)  # of torch.compile
    for said in (
        getattr(getattr(inner, "config", None), "num_labels", None),
        getattr(inner, "num_classes", None),
    ):
        if isinstance(said, int):
            return said
    return None


def check_usable(model: nn.Module) -> None:
    """Refuse a model whose weights are absent or quantised.

    Raises:
        ModelError: Names the parameter or module.
    """
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if is_lazy(tensor):
            raise ModelError(f"{name} is not initialised: run one forward pass first.")
        if tensor.is_meta:
            raise ModelError(
                f"{name} is on the meta device, without values: load the weights first"
            )
    for name, module in model.named_modules():
        if _is_quantised(module):
            raise ModelError(
                f"{name or 'the model'} ({type(module).__name__}) is quantised: dequantise first"
            )


def _is_quantised(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    if isinstance(weight, Tensor) and (
        weight.element_size() == 1 or type(weight).__module__.startswith("torchao")
    ):
        return True
    home = r"bitsandbytes\b|torch\.ao\..*\bquantized\b"
    return hasattr(module, "qweight") or re.match(home, type(module).__module__) is not None
