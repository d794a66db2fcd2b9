"""Build a model from one line of text, and load its weights from safetensors only: nothing in a file is executed."""

from __future__ import annotations

import difflib
import importlib
import inspect
import io
import json
import logging
import os
import pickletools
import re
import stat
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from unspan.errors import ModelError, UnsafeFileError, UsageError

if TYPE_CHECKING:
    from unspan.preprocess import Preprocess, TextPreprocess

    Make = Callable[[int | None, bool], nn.Module]  # (number of classes or None for the default, published weights?)
    Description = tuple[Preprocess | None, list[str] | None]  # input and class names
    Describe = Callable[[nn.Module, bool], Description]  # (model, published weights?)

_FORMS = """give a model as one of
  timm:NAME             timm:resnet18
  torchvision:NAME      torchvision:resnet18
  transformers:FOLDER   transformers:./my-vit (a folder with config.json) or a hub id
  python:MODULE:FACTORY python:my_package.nets:make_net or python:nets.py:make_net (this code is run)"""
_AUTO = {
    "ForImageClassification": "AutoModelForImageClassification",
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "": "AutoModel",
}


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


def build(spec: str, *, weights: Path | None = None, num_classes: int | None = None) -> Loaded:
    """Build a model and load its weights.

    `python:` specs import and run the code they name, with the current directory importable: use only code you trust.

    Args:
        spec: `timm:NAME`, `torchvision:NAME`, `transformers:FOLDER_OR_HUB_ID` or `python:MODULE_OR_FILE:FACTORY`.
        weights: A safetensors file (or its `*.index.json`); without it the published weights are used, which may be
            downloaded, those in the transformers folder, or those that the factory loads itself.
        num_classes: Outputs of the classifier; inferred from `weights` when not given.

    Raises:
        UsageError: A spec, name or package that does not exist, or no weights.
        ModelError: Weights that do not fit, or a model that cannot be used as it is.
        UnsafeFileError: Weights that are not safetensors.
    """
    kind, _, name = spec.partition(":")
    if kind == "transformers" and name:
        loaded = _transformers(name, weights, num_classes)
    elif kind in _SOURCES and name:
        loaded = _from_source(spec, weights, num_classes)
    else:
        raise UsageError(f"{spec!r} names no model; {_FORMS}")
    check_usable(loaded.model)
    loaded.model.eval()
    return loaded


def rebuild(recipe: Mapping[str, Any]) -> nn.Module:
    """Build the architecture of a recipe with random weights, in evaluation mode.

    A `python:` recipe imports and runs the code it names: rebuild only recipes you trust.

    Raises:
        UsageError: The package or the name is not there any more.
        ModelError: The recipe is malformed.
    """
    kind, _, name = str(recipe.get("spec")).partition(":")
    if kind in _SOURCES:
        return _SOURCES[kind](name)[0](recipe.get("num_classes"), False).eval()
    if kind != "transformers" or recipe.get("auto_class") not in _AUTO.values():
        raise ModelError(f"the recipe has spec {recipe.get('spec')!r} and auto_class {recipe.get('auto_class')!r}")
    package = _require("transformers")
    try:
        config = package.AutoConfig.for_model(**recipe["config"])
        return getattr(package, recipe["auto_class"]).from_config(config, trust_remote_code=False).eval()
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"the transformers config in the recipe cannot be built: {error}") from error


def classes_of(model: nn.Module) -> int | None:
    """Number of classes a classifier gives, read from its config or its last linear layer; None when unknown."""
    model = getattr(model, "_orig_mod", model)
    for owner, name in ((getattr(model, "config", None), "num_labels"), (model, "num_classes")):
        if isinstance(getattr(owner, name, None), int):
            return int(getattr(owner, name))
    return next((layer.out_features for layer in reversed(list(model.modules())) if isinstance(layer, nn.Linear)), None)


def load_weights(model: nn.Module, path: Path) -> list[str]:
    """Load a safetensors file into `model`, in place and strictly; `module.` and `_orig_mod.` prefixes are stripped.

    Returns:
        Notices for the user.

    Raises:
        UsageError: No such file.
        ModelError: A damaged file, values that are not finite, or keys, shapes or dtypes that do not fit.
        UnsafeFileError: The file is not safetensors.
    """
    state, notices = _read_state(path)
    _assign(model, state)
    return notices


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file, or all shards of its `*.index.json`; told apart by content, not by name.

    Returns:
        Tensors on the CPU, backed by the file: copy before writing to them.

    Raises:
        UsageError: No such file.
        ModelError: A damaged or ambiguous file, unusable dtypes, or values that are not finite; names the tensor.
        UnsafeFileError: Not a regular file, a pickle or archive, or shards outside the folder.
    """
    path = Path(path)
    head = _head(path)
    if not head.startswith(b"{") or b"\0" in head[:8]:
        return _read_one(path, head)
    state: dict[str, Tensor] = {}
    for name in _shard_names(path):
        shard = _read_one(path.parent / name, _head(path.parent / name))
        if twice := state.keys() & shard.keys():
            raise ModelError(f"{path.name}: tensor {min(twice)!r} is in more than one shard")
        state |= shard
    return state


def check_usable(model: nn.Module) -> None:
    """Refuse a model whose weights are absent or quantised.

    Raises:
        ModelError: Names the parameter or module.
    """
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if is_lazy(tensor):
            raise ModelError(f"{name} is not initialised: run one forward pass first")
        if tensor.is_meta:
            raise ModelError(f"{name} is on the meta device, without values: load the weights first")
    for name, module in model.named_modules():
        if _is_quantised(module):
            raise ModelError(f"{name or 'the model'} ({type(module).__name__}) is quantised: dequantise first")


def _is_quantised(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    if isinstance(weight, Tensor) and (weight.element_size() == 1 or type(weight).__module__.startswith("torchao")):
        return True
    home = r"bitsandbytes\b|torch\.ao\..*\bquantized\b"
    return hasattr(module, "qweight") or re.match(home, type(module).__module__) is not None


@contextmanager
def quiet() -> Iterator[None]:
    """Silence progress bars, log lines below errors and warnings of other libraries."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


# ---- sources ---------------------------------------------------------------------------------------------------


def _from_source(spec: str, weights: Path | None, num_classes: int | None) -> Loaded:
    kind, _, name = spec.partition(":")
    make, describe = _SOURCES[kind](name)
    notices: list[str] = []
    if weights is None:
        model = _published(spec, make, num_classes)
    else:
        state, notices = _read_state(weights)
        model = make(num_classes, False)
        check_usable(model)
        rows = _classes_in(state, model)
        if num_classes is None and rows is not None:
            notices.append(f"{rows} classes, from the weights")
            if rows != _classes_in(model.state_dict(), model):
                model = make(rows, False)
            num_classes = rows
        _assign(model, state)
    check_usable(model)
    outputs = _classes_in(model.state_dict(), model)
    if num_classes is not None and outputs not in (None, num_classes):
        notices.append(f"built with {outputs} classes, not {num_classes}")
    preprocess, class_names = describe(model, weights is None)
    recipe = {"spec": spec, "num_classes": num_classes}
    return Loaded(model=model, recipe=recipe, preprocess=preprocess, class_names=class_names, notices=notices)


def _published(spec: str, make: Make, num_classes: int | None) -> nn.Module:
    if num_classes is not None and not spec.startswith("python:"):
        raise UsageError(
            "published weights have their own classes: pass --weights FILE.safetensors or no --num-classes"
        )
    try:
        return make(num_classes, True)
    except (OSError, RuntimeError) as error:
        reason = "the hub could not be reached" if isinstance(error, OSError) else error
        raise UsageError(f"no weights: pass --weights FILE.safetensors ({reason})") from error


def _timm(name: str) -> tuple[Make, Describe]:
    timm = _require("timm")
    if not timm.is_model(name):
        raise _unknown("timm", name, timm.list_models())

    def make(num_classes: int | None, published: bool) -> nn.Module:
        return timm.create_model(name, pretrained=published, **_given(num_classes))

    def describe(model: nn.Module, published: bool) -> Description:
        from unspan.preprocess import Preprocess

        return Preprocess.from_timm(cast(Any, model).pretrained_cfg), None

    return make, describe


def _torchvision(name: str) -> tuple[Make, Describe]:
    models = _require("torchvision").models
    # googlenet and inception_v3 change their input and branches with the published weights, which no recipe carries
    known = set(models.list_models(module=models)) - {"googlenet", "inception_v3"}
    if name not in known:
        raise _unknown("torchvision", name, known)
    weights = models.get_model_weights(name).DEFAULT

    def make(num_classes: int | None, published: bool) -> nn.Module:
        return models.get_model(name, weights=weights if published else None, **_given(num_classes))

    def describe(model: nn.Module, published: bool) -> Description:
        from unspan.preprocess import Preprocess

        return Preprocess.from_torchvision(weights.transforms()), weights.meta["categories"] if published else None

    return make, describe


def _python(name: str) -> tuple[Make, Describe]:
    module_name, _, attribute = name.rpartition(":")
    if not module_name or not attribute:
        raise UsageError(f"'python:{name}' has no factory; {_FORMS}")

    def make(num_classes: int | None, published: bool) -> nn.Module:
        try:
            factory = attrgetter(attribute)(_import(module_name))
        except Exception as error:
            raise UsageError(f"python:{name} cannot be imported: {type(error).__name__}: {error}") from error
        try:
            model = factory(**_given(num_classes)) if _accepts_num_classes(factory) else factory()
        except Exception as error:
            raise UsageError(f"python:{name} failed when called: {type(error).__name__}: {error}") from error
        if not isinstance(model, nn.Module):
            raise UsageError(f"python:{name} returned {type(model).__name__}, not a torch.nn.Module")
        return model

    def describe(model: nn.Module, published: bool) -> Description:
        from unspan.preprocess import Preprocess

        documented = getattr(model, "preprocess", None)
        return Preprocess.from_dict(documented) if isinstance(documented, Mapping) else None, None

    return make, describe


_SOURCES: dict[str, Callable[[str], tuple[Make, Describe]]] = {
    "timm": _timm,
    "torchvision": _torchvision,
    "python": _python,
}


def _given(num_classes: int | None) -> dict[str, int]:
    return {} if num_classes is None else {"num_classes": num_classes}


def _require(package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UsageError(f"{package} is not installed: pip install 'unspan[{package}]'") from error


def _unknown(package: str, name: str, known: Iterable[str]) -> UsageError:
    close = ", ".join(difflib.get_close_matches(name, list(known), n=5, cutoff=0.4)) or "none"
    return UsageError(f"{package} has no usable model {name!r}; close names: {close}")


def _import(name: str) -> ModuleType:
    if not name.endswith(".py"):
        if (here := os.getcwd()) not in sys.path:
            sys.path.insert(0, here)
        return importlib.import_module(name)
    loader = SourceFileLoader(f"unspan_file_{Path(name).stem}", name)
    module = ModuleType(loader.name)
    module.__file__ = name
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module


def _accepts_num_classes(factory: Callable[..., Any]) -> bool:
    try:
        inspect.signature(factory).bind(num_classes=2)
    except (TypeError, ValueError):
        return False
    return True


def _classes_in(state: Mapping[str, Tensor], model: nn.Module) -> int | None:
    """Rows that `state` has for the classifier: the last layer of `model` with its default number of classes."""
    default = getattr(model, "num_classes", None)
    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]
    heads = [f"{name}.weight".lstrip(".") for name, layer in layers if default in (None, layer.weight.shape[0])]
    return state[heads[-1]].shape[0] if heads and heads[-1] in state else None


# ---- transformers ----------------------------------------------------------------------------------------------


def _transformers(name: str, weights: Path | None, num_classes: int | None) -> Loaded:
    package = _require("transformers")
    folder = _folder(name)
    try:
        config = package.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"transformers:{name} has no usable config.json: {str(error).splitlines()[0]}") from error
    if num_classes is not None:
        config.num_labels = num_classes
    architectures = " ".join(config.architectures or [])
    auto_class = next(auto for suffix, auto in _AUTO.items() if suffix in architectures)
    settings = json.loads(config.to_json_string(use_diff=False))
    settings.pop("_name_or_path", None)
    recipe = {"spec": f"transformers:{Path(name).name}", "auto_class": auto_class, "config": settings}
    model = rebuild(recipe)
    notices = load_weights(model, weights or _folder_weights(folder))
    labels = [config.id2label[index] for index in sorted(config.id2label)]
    class_names = None if auto_class == "AutoModel" or labels[0] == "LABEL_0" else labels
    preprocess = _folder_preprocess(folder)
    return Loaded(model=model, recipe=recipe, preprocess=preprocess, class_names=class_names, notices=notices)


def _folder(name: str) -> Path:
    if Path(name).is_dir():
        return Path(name)
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name):
        raise UsageError(f"transformers:{name}: there is no such folder")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "model*.safetensors", "*.txt", "*.model"]))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"transformers:{name}: no such folder, and the hub was not reached or has no such id"
        ) from error


def _folder_weights(folder: Path) -> Path:
    for name in ("model.safetensors", "model.safetensors.index.json"):
        if (folder / name).exists():
            return folder / name
    if old := sorted(folder.glob("*.bin")):
        raise _unsafe(old[0], "is a pickle, which can run code when it is read")
    raise UsageError(f"no weights: {folder.name} has no model.safetensors; pass --weights FILE.safetensors")


def _folder_preprocess(folder: Path) -> Preprocess | TextPreprocess | None:
    from unspan.preprocess import Preprocess, TextPreprocess

    image = folder / "preprocessor_config.json"
    if image.is_file():
        return Preprocess.from_transformers(json.loads(image.read_text("utf-8")))
    if any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt")):
        return TextPreprocess(_require("transformers").AutoTokenizer.from_pretrained(folder, trust_remote_code=False))
    return None


def _converted(model: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """`state` under the names of a transformers model, whose releases rename keys between file and module."""
    with quiet():
        other, info = type(model).from_pretrained(
            None, config=model.config, state_dict=dict(state), output_loading_info=True, ignore_mismatched_sizes=True
        )
    found = {key: value for key, value in other.state_dict().items() if key not in info["missing_keys"]}
    misfits = {key: torch.empty(shape, device="meta") for key, shape, _ in info["mismatched_keys"]}
    return found | misfits | {key: state.get(key, torch.empty(0)) for key in info["unexpected_keys"]}


# ---- weights ---------------------------------------------------------------------------------------------------

_MAX_HEADER = 2**24  # bytes: about 150,000 tensors
_DTYPES = {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64} | {
    torch.float16, torch.bfloat16, torch.float32, torch.float64,
}  # fmt: skip


def _unsafe(path: Path, reason: str) -> UnsafeFileError:
    return UnsafeFileError(
        f"{path.name} {reason}. Convert weights you trust once, where you made them:\n"
        f'  state = torch.load("{path.name}", weights_only=True)\n'
        '  safetensors.torch.save_file(state, "model.safetensors")'
    )


def _head(path: Path) -> bytes:
    """Return the first bytes of a regular file."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise UnsafeFileError(f"{path.name} is not a regular file: give a .safetensors file")
        with path.open("rb") as file:
            return file.read(512)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def _is_archive(head: bytes) -> bool:
    """Whether `head` starts a zip, gzip, tar or pickle; pickle opcodes are parsed, never executed."""
    if head.startswith((b"PK", b"\x1f\x8b")) or head[257:262] == b"ustar":
        return True
    try:
        opcodes = pickletools.genops(head)
        return all(next(opcodes) for _ in range(3))
    except (ValueError, StopIteration):
        return False


def _read_one(path: Path, head: bytes) -> dict[str, Tensor]:
    if head[8:9] != b"{" and _is_archive(head):
        raise _unsafe(path, "is an archive or a pickle, which can run code when it is read")
    _check_header(path, int.from_bytes(head[:8], "little"))
    try:
        state = load_file(path)
    except (SafetensorError, KeyError, ValueError, RuntimeError, OverflowError) as error:
        raise ModelError(f"{path.name} is not a valid safetensors file: {error}") from error
    for name, tensor in state.items():
        if len(name) > 512 or not name.isprintable():
            raise ModelError(f"{path.name}: tensor name {name[:40]!r} is too long or has control characters")
        if tensor.dtype not in _DTYPES:
            raise ModelError(f"{path.name}: tensor {name!r} is {tensor.dtype}: dequantise first")
        if max(tensor.shape, default=0) >= 2**31:
            raise ModelError(f"{path.name}: tensor {name!r} has shape {list(tensor.shape)}")
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ModelError(f"{path.name}: tensor {name!r} has NaN or infinite values")
    return state


def _check_header(path: Path, length: int) -> None:
    """Refuse what safetensors lets pass, a name given twice, and huge headers before they are read."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        name, times = Counter(key for key, _ in pairs).most_common(1)[0] if pairs else ("", 1)
        if times > 1:
            raise ModelError(f"{path.name}: {name[:100]!r} is in the header {times} times")
        return dict(pairs)

    if not 2 <= length <= min(_MAX_HEADER, path.stat().st_size - 8):
        raise ModelError(f"{path.name} is not a safetensors file, or is cut off: its header would be {length} bytes")
    with path.open("rb") as file:
        file.seek(8)
        try:
            json.loads(file.read(length).decode("utf-8"), object_pairs_hook=unique)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{path.name}: the safetensors header is not valid JSON: {error}") from error


def _shard_names(path: Path) -> list[str]:
    try:
        if path.stat().st_size > _MAX_HEADER:
            raise ValueError("too large")
        names = sorted(set(json.loads(path.read_text("utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path.name} is not an index of safetensors shards: {error}") from error
    for name in names:
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]*", name):
            raise UnsafeFileError(f"{path.name} points to {str(name)[:200]!r}: shards must be files of the same folder")
    return names


def _read_state(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors without wrapper prefixes, and notices."""
    state = read_safetensors(path)
    for name in state:
        if re.search("_fsdp_wrapped_module|_fsdp_param|_flat_param", name):
            raise ModelError(f"{name!r} is a shard of FSDP training: consolidate the shards first")
    notices = []
    while prefix := _common(state, "module.") or _common(state, "_orig_mod."):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
        notices.append(f"stripped prefix {prefix}")
    return state, notices


def _common(names: Collection[str], prefix: str) -> str:
    return prefix if names and all(name.startswith(prefix) for name in names) else ""


def _assign(model: nn.Module, state: dict[str, Tensor]) -> None:
    check_usable(model)
    own = model.state_dict(keep_vars=True)
    if hasattr(model, "config") and hasattr(model, "from_pretrained") and _completed(own, state).keys() != own.keys():
        state = _converted(model, state)
    state = _completed(own, state)
    problems = {
        "missing": [f"{key} {list(own[key].shape)}" for key in own if key not in state],
        "unexpected": [f"{key} {list(state[key].shape)}" for key in state if key not in own],
        "of another shape": [
            f"{key} {list(state[key].shape)}, not {list(own[key].shape)}"
            for key in own if key in state and state[key].shape != own[key].shape
        ],
        "of integers": [
            f"{key} {state[key].dtype}" for key in own
            if key in state and own[key].is_floating_point() and not state[key].is_floating_point()
        ],
    }  # fmt: skip
    if any(problems.values()):
        lines = [f"\n  {len(keys)} {kind}: {', '.join(keys[:10])}" for kind, keys in problems.items() if keys]
        raise ModelError(f"the weights do not fit {type(model).__name__} (at most 10 shown of each){''.join(lines)}")
    model.load_state_dict(state, strict=True)


def _completed(own: Mapping[str, Tensor], state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give each tied parameter that files leave out the value of its twin."""
    present = {id(tensor): state[key] for key, tensor in own.items() if key in state}
    return {key: present[id(tensor)] for key, tensor in own.items() if id(tensor) in present} | state
