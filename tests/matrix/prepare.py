"""Train a network briefly, and keep it as its owner would: a weights file or a folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from matrix.networks import NETWORKS, Network
from matrix.tasks import SIZE, WORDS, Task, task_at, write_task
from unspan.cli.opening import Opened, open_model
from unspan.data.opening import open_data

BATCH = 32
WEIGHTS = "model.safetensors"
_IMAGES = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": SIZE, "width": SIZE},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.45] * 3,
    "image_std": [0.25] * 3,
    "resample": 2,
}


def cache_in(root: Path) -> Path:
    """A folder for data and trained networks; another one when the code that makes them changes."""
    here = Path(__file__).parent
    code = [(here / f"{name}.py").read_bytes() for name in ("tasks", "networks", "own", "prepare")]
    return root / hashlib.sha256(b"".join(code)).hexdigest()[:12]


def task_in(cache: Path, kind: str) -> Task:
    """The data of a task, written once."""
    return task_at(_once(cache / kind, lambda root: write_task(task_at(root, kind))), kind)


def model_in(cache: Path, name: str, dtype: str) -> list[str]:
    """Command-line options that name the trained network in this dtype; trained once."""
    task = task_in(cache, NETWORKS[name].task)
    kept = _once(cache / f"{name}-float32", lambda folder: _train(name, task, folder))
    if dtype != "float32":
        trained = kept
        kept = _once(cache / f"{name}-{dtype}", lambda folder: _cast(trained, folder, dtype))
    return _options(NETWORKS[name], kept)


def opened(options: list[str]) -> Opened:
    """The network that these options name, as the command line opens it."""
    given = dict(zip(options[::2], options[1::2], strict=True))
    values: dict[str, Any] = dict.fromkeys(
        ("weights", "num_classes", "size", "mean", "std", "classes")
    )
    values |= {"model": given["--model"], "trust_code": True}
    if "--weights" in given:
        values["weights"] = Path(given["--weights"])
    if "--size" in given:
        values["size"] = int(given["--size"])
    return open_model(values)


def samples(task: Task, preprocess: Any, split: str) -> tuple[Any, Tensor]:
    """All samples of a split as one batch, and their labels."""
    source = open_data(str(task.data), transform=preprocess)[split]
    pairs = [source[at] for at in range(len(source))]
    labels = torch.tensor([label for _, label in pairs])
    values = [value for value, _ in pairs]
    return (torch.stack(values) if task.kind == "images" else preprocess.collate(values)), labels


def rows_of(inputs: Any, rows: Any) -> Any:
    """Some samples of a batch."""
    if isinstance(inputs, Tensor):
        return inputs[rows]
    return {name: value[rows] for name, value in inputs.items()}


def scores(model: nn.Module, inputs: Any) -> Tensor:
    """Logits of a batch."""
    given = model(inputs) if isinstance(inputs, Tensor) else model(**inputs)
    return given if isinstance(given, Tensor) else given.logits


def _once(folder: Path, write: Callable[[Path], None]) -> Path:
    """A folder that is there whole or not at all, also when two processes want it."""
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder.parent))
    write(draft)
    try:
        os.rename(draft, folder)
    except OSError:  # the other process was first
        shutil.rmtree(draft)
    return folder


def _options(network: Network, folder: Path) -> list[str]:
    if not network.spec:
        return ["--model", f"transformers:{folder}"]
    options = ["--model", network.spec, "--weights", str(folder / WEIGHTS)]
    return options + (["--size", str(network.size)] if network.size else [])


def _train(name: str, task: Task, folder: Path) -> None:
    network = NETWORKS[name]
    torch.manual_seed(0)
    model = network.build()
    _write(network, model, folder)
    inputs, labels = samples(task, opened(_options(network, folder)).preprocess, "train")
    _descend(model, inputs, labels, network.epochs)
    _settle(model, inputs)
    if network.head:
        _fit_head(model, network.head, inputs, labels)
    _write(network, model, folder)


def _write(network: Network, model: nn.Module, folder: Path) -> None:
    if network.spec:
        state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        save_file(state, folder / WEIGHTS)
        return
    model.save_pretrained(folder)
    if network.task == "images":
        (folder / "preprocessor_config.json").write_text(json.dumps(_IMAGES), "utf-8")
    else:
        _write_tokenizer(folder)


def _write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = {"pad_token": "[PAD]", "bos_token": "[BOS]", "eos_token": "[EOS]"}
    special["unk_token"] = "[UNK]"
    words = {word: at for at, word in enumerate([*special.values(), *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=32,
        **special,
    ).save_pretrained(folder)


def _descend(model: nn.Module, inputs: Any, labels: Tensor, epochs: int) -> None:
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    draw = torch.Generator().manual_seed(0)
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(labels), generator=draw).split(BATCH):
            optimiser.zero_grad()
            given = scores(model, rows_of(inputs, rows))
            nn.functional.cross_entropy(given, labels[rows]).backward()
            optimiser.step()


def _settle(model: nn.Module, inputs: Any) -> None:
    """Give BatchNorm the statistics of all samples; leaves the model in evaluation mode."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        scores(model, inputs)
    model.eval()


def _fit_head(model: nn.Module, name: str, inputs: Any, labels: Tensor) -> None:
    """Logistic regression on the features, without a bias."""
    head = model.get_submodule(name)
    seen: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    with torch.no_grad():
        scores(model, inputs)
    handle.remove()
    scale = seen[0].pow(2).mean().sqrt()
    fitted = LogisticRegression(C=0.1, max_iter=500, fit_intercept=False)
    fitted.fit((seen[0] / scale).numpy(), labels.numpy())
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(fitted.coef_) / scale)
        head.bias.zero_()


def _cast(trained: Path, folder: Path, dtype: str) -> None:
    """The same files with weights of another dtype."""
    from safetensors import safe_open
    from safetensors.torch import load_file

    shutil.copytree(trained, folder, dirs_exist_ok=True)
    wanted = getattr(torch, dtype)
    with safe_open(trained / WEIGHTS, "pt") as file:
        metadata = file.metadata()
    state = {
        name: tensor.to(wanted) if tensor.is_floating_point() else tensor
        for name, tensor in load_file(trained / WEIGHTS).items()
    }
    save_file(state, folder / WEIGHTS, metadata)
    config = folder / "config.json"
    if config.is_file():
        config.write_text(json.dumps(json.loads(config.read_text()) | {"dtype": dtype}), "utf-8")
