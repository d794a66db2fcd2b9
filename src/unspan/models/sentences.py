"""Models of sentence-transformers: objects, folders written by `SentenceTransformer.save`, hub ids.

Such a model is a sequence of modules that pass a dict on. The first one carries the tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from unspan.data.preprocess import TextPreprocess
from unspan.data.texts import as_text, with_preprocess
from unspan.errors import UsageError
from unspan.models.libraries import is_sentence_transformer, quiet, require
from unspan.models.loaded import Loaded
from unspan.models.safetensors_files import unsafe
from unspan.models.weights import load_weights

if TYPE_CHECKING:
    from unspan.data.request import Request

KIND = "sentence-transformers"  # of a spec, before the colon
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl")


@dataclass(frozen=True)
class SentenceTokens:
    """Makes inputs of texts as `encode` does, with the default prompt of the model.

    Attributes:
        model: a `SentenceTransformer`.
    """

    model: Any

    def __call__(self, texts: Sequence[str], **_settings: Any) -> dict[str, Tensor]:
        """Tensors `[B, longest text]`; padding and cutting are those of the model."""
        prompt = self.model.prompts.get(self.model.default_prompt_name)
        made = self.model.preprocess(list(texts), prompt=prompt or None)
        return {name: one for name, one in made.items() if isinstance(one, Tensor)}


def preprocess_of(model: nn.Module) -> TextPreprocess | None:
    """The tokenizer that a `SentenceTransformer` carries; None for any other model."""
    return TextPreprocess(SentenceTokens(model)) if is_sentence_transformer(model) else None


def with_tokens(model: object, request: Request) -> Request:
    """A request whose raw texts a model can read: unchanged where it is no `SentenceTransformer`.

    Data that make tokens themselves stay as they are.

    Args:
        model: that is to read the request.
        request: with texts, or with rows of a dict whose entry `text` holds one.
    """
    if not is_sentence_transformer(model):
        return request
    preprocess = TextPreprocess(SentenceTokens(model))
    parts = ("forget", "retain", "holdout", "test_forget", "test_retain")
    changes = {name: with_preprocess(getattr(request, name), preprocess) for name in parts}
    return replace(request, **changes)


def tokens(model: object, inputs: Any) -> Any:
    """Inputs of a model: made of a list of texts for a `SentenceTransformer`, else as they are."""
    if not is_sentence_transformer(model) or not isinstance(inputs, (list, tuple)):
        return inputs
    texts = [as_text(one) for one in inputs]
    return inputs if None in texts else SentenceTokens(model)([one for one in texts if one])


def from_folder(name: str, weights: Path | None, num_classes: int | None) -> Loaded:
    """The model of a folder or hub id, with the weights in it or the file given instead.

    Raises:
        UsageError: there is no such model, or classes were asked for.
        UnsafeFileError: the folder has pickled weights.
    """
    if num_classes is not None:
        raise UsageError(f"{KIND}:{name} gives embeddings: leave out --num-classes.")
    model = _read(name)
    notices = [] if weights is None else load_weights(model, weights)
    return Loaded(
        model=model,
        recipe={"spec": f"{KIND}:{name}"},
        preprocess=preprocess_of(model),
        class_names=None,
        notices=notices,
    )


def rebuild(recipe: Mapping[str, Any]) -> nn.Module:
    """The model of a recipe, which names the folder or hub id it was made from."""
    return _read(str(recipe["spec"]).partition(":")[2])


def _read(name: str) -> nn.Module:
    package = require("sentence_transformers")
    folder = Path(name)
    if folder.is_dir():
        _refuse_pickles(folder)
        if not (folder / "modules.json").is_file():
            raise UsageError(
                f"{KIND}:{name} has no modules.json. Give a folder that SentenceTransformer.save"
                " wrote, or the id of a model on the hub."
            )
    try:
        with quiet():
            model: nn.Module = package.SentenceTransformer(
                name,
                device="cpu",
                trust_remote_code=False,
                local_files_only=folder.is_dir(),
                model_kwargs={"use_safetensors": True},
            )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UsageError(
            f"{KIND}:{name} cannot be opened: {str(error).splitlines()[0]}. Give a folder that"
            " SentenceTransformer.save wrote, or the id of a model on the hub. A folder of an"
            " erased model needs that of the original where it was."
        ) from error
    return model.eval()


def _refuse_pickles(folder: Path) -> None:
    for pattern in _PICKLES:
        for found in sorted(folder.rglob(pattern)):
            raise unsafe(found, "is a pickle, which can run code when it is read")
