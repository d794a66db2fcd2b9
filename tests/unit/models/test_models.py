"""Models come from a line of text, weights from safetensors only, and everything else is refused
with a reason.
"""

import builtins
import json
import os
import pickle
import re
import struct
import sys
import tarfile
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from unspan.data.preprocess import Preprocess, TextPreprocess
from unspan.errors import ModelError, UnsafeFileError, UsageError
from unspan.models import build, check_usable, load_weights, read_safetensors, rebuild
from unspan.zoo import AllCNN, DigitsCNN

SHARED = Path(__file__).resolve().parents[3].parent / "shared"
CHECKPOINT = SHARED / "checkpoints" / "allcnn-cifar10-original.safetensors"
DIGITS = "python:unspan.zoo:DigitsCNN"
BERT = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}
VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 16,
    "patch_size": 8,
}


@pytest.fixture
def digits_file(tmp_path):
    torch.manual_seed(0)
    return saved(DigitsCNN().state_dict(), tmp_path / "digits.safetensors")


def saved(state, path: Path) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


def raw_file(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def folder_of(model, path: Path, **extra_files: object) -> Path:
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(path)
    for name, content in extra_files.items():
        (path / f"{name}.json").write_text(json.dumps(content))
    return path


def same(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


# ---- specs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec", ["resnet18", "timm:", "hub:resnet18", "", "transformers:", "python:"]
)
def test_an_unknown_spec_lists_the_five_forms(spec):
    with pytest.raises(
        UsageError,
        match=r"(?s)timm:NAME.*torchvision:NAME.* transformers:FOLDER.*sentence-t.*python:MODULE",
    ):
        build(spec)


@pytest.mark.parametrize("package", ["timm", "torchvision", "transformers"])
def test_a_missing_package_names_its_extra(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf"pip install 'unspan\[{package}\]'"):
        build(f"{package}:x")


def test_a_factory_of_a_module_gets_its_weights_and_preprocess(digits_file):
    loaded = build(DIGITS, weights=digits_file)
    expected = DigitsCNN()
    load_weights(expected, digits_file)
    assert same(loaded.model, expected)
    assert not loaded.model.training
    assert loaded.recipe == {"spec": DIGITS, "num_classes": 10}
    assert loaded.preprocess == Preprocess.from_dict(DigitsCNN.preprocess)
    assert loaded.class_names is None


def test_classes_are_inferred_from_the_weights(tmp_path):
    loaded = build(DIGITS, weights=saved(DigitsCNN(3).state_dict(), tmp_path / "w.safetensors"))
    assert loaded.model.head.out_features == 3
    assert loaded.notices == ["3 classes, from the weights"]
    assert rebuild(json.loads(json.dumps(loaded.recipe))).head.out_features == 3


def test_given_classes_must_fit_the_weights(digits_file):
    assert build(DIGITS, num_classes=4).model.head.out_features == 4
    with pytest.raises(ModelError, match=r"head\.weight \[10, 64\], not \[4, 64\]"):
        build(DIGITS, weights=digits_file, num_classes=4)


def test_the_published_checkpoint_loads():
    if not CHECKPOINT.is_file():
        pytest.skip(f"needs the shared checkpoint {CHECKPOINT.name}")
    loaded = build("python:unspan.zoo:AllCNN", weights=CHECKPOINT)
    assert isinstance(loaded.model, AllCNN)
    assert loaded.model.bn1.num_batches_tracked > 0


def test_factories_may_live_in_the_current_directory_or_a_file(tmp_path, monkeypatch):
    (tmp_path / "nets_here.py").write_text(
        "from torch import nn\nclass Nets:\n    small = staticmethod(lambda: nn.Linear(2, 3))\n"
    )
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.chdir(tmp_path)
    assert build("python:nets_here:Nets.small").model.out_features == 3
    assert build("python:./nets_here.py:Nets.small").model.out_features == 3
    assert build(f"python:{tmp_path}/nets_here.py:Nets.small").model.out_features == 3


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("python:no_such_module:make", "No module named"),
        ("python:unspan.zoo:AllCN", "has no AllCN. Did you mean .*AllCNN"),
        ("python:unspan.zoo:Missing", "has no Missing"),
        ("python:./absent.py:make", "no file ./absent.py here"),
        ("python:torch.nn:Linear", "failed when called: TypeError"),
        ("python:builtins:dict", "returned dict, not a torch.nn.Module"),
        ("python:unspan.zoo", "has no factory"),
    ],
)
def test_a_factory_that_does_not_work_says_why(spec, reason):
    with pytest.raises(UsageError, match=reason):
        build(spec)


def test_where_a_factory_fails_is_said_and_an_error_of_unspan_is_shown_as_it_is(tmp_path):
    path = tmp_path / "fails.py"
    path.write_text(
        "from unspan.errors import UsageError\n\n\ndef late():\n    raise RuntimeError('boom')\n"
        "\n\ndef plain():\n    raise UsageError('Install the weights.')\n"
    )
    with pytest.raises(
        UsageError, match=r"failed when called: RuntimeError: boom \(fails.py, line 5"
    ):
        build(f"python:{path}:late")
    with pytest.raises(UsageError, match=r"^Install the weights\.$"):
        build(f"python:{path}:plain")


def test_a_factory_without_num_classes_is_called_without_and_the_difference_is_told(tmp_path):
    (tmp_path / "fixed.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Linear(2, 3)\n"
    )
    loaded = build(f"python:{tmp_path}/fixed.py:make", num_classes=4)
    assert loaded.model.out_features == 3
    assert loaded.notices == ["built with 3 classes, not 4"]


# ---- transformers --------------------------------------------------------------------------------


def image_classifier(kind: str) -> nn.Module:
    torch.manual_seed(0)
    labels = {
        "id2label": {0: "cat", 1: "dog", 2: "eel"},
        "label2id": {"cat": 0, "dog": 1, "eel": 2},
    }
    if kind == "resnet":
        return ResNetForImageClassification(
            ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], **labels)
        )
    return ViTForImageClassification(ViTConfig(**VIT, **labels))


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_image_folders_load_with_preprocess_and_class_names(tmp_path, kind):
    original = image_classifier(kind).eval()
    processor = {
        "do_resize": True,
        "size": {"height": 16, "width": 16},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    folder = folder_of(original, tmp_path / "model", preprocessor_config=processor)
    loaded = build(f"transformers:{folder}")
    assert same(loaded.model, original)
    assert loaded.recipe["auto_class"] == "AutoModelForImageClassification"
    assert loaded.class_names == ["cat", "dog", "eel"]
    assert loaded.preprocess == Preprocess.from_transformers(processor)
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(loaded.model(images).logits, original(images).logits)


def test_a_recipe_rebuilds_through_json_and_takes_the_state_dict(tmp_path):
    loaded = build(f"transformers:{folder_of(image_classifier('vit'), tmp_path / 'model')}")
    assert str(tmp_path) not in json.dumps(loaded.recipe["config"])
    again = rebuild(json.loads(json.dumps(loaded.recipe)))
    assert type(again) is type(loaded.model)
    assert not same(again, loaded.model)
    assert load_weights(again, saved(loaded.model.state_dict(), tmp_path / "own.safetensors")) == []
    assert same(again, loaded.model)


def test_text_folders_load_with_a_tokenizer(tmp_path):
    original = BertForSequenceClassification(BertConfig(**BERT, num_labels=3))
    folder = folder_of(original, tmp_path / "model")
    (folder / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad"])
    )
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    loaded = build(f"transformers:{folder}")
    assert same(loaded.model, original)
    assert isinstance(loaded.preprocess, TextPreprocess)
    assert loaded.class_names is None
    assert loaded.model(**loaded.preprocess.collate(["good bad", "bad"])).logits.shape == (2, 3)


def test_a_folder_without_a_classifier_is_a_base_model(tmp_path):
    original = BertModel(BertConfig(**BERT))
    loaded = build(f"transformers:{folder_of(original, tmp_path / 'model')}")
    assert same(loaded.model, original)
    assert loaded.recipe["auto_class"] == "AutoModel"
    assert loaded.preprocess is None


def test_given_weights_replace_those_of_the_folder(tmp_path):
    folder = folder_of(image_classifier("vit"), tmp_path / "model")
    other = ViTForImageClassification(ViTConfig(**VIT, num_labels=5))
    weights = folder_of(other, tmp_path / "other") / "model.safetensors"
    assert same(build(f"transformers:{folder}", weights=weights, num_classes=5).model, other)
    with pytest.raises(ModelError, match=r"classifier\.weight \[5, 32\], not \[3, 32\]"):
        build(f"transformers:{folder}", weights=weights)


def test_missing_and_extra_weights_of_a_folder_are_refused(tmp_path):
    folder = folder_of(image_classifier("vit"), tmp_path / "model")
    state = read_safetensors(folder / "model.safetensors")
    state = {name: tensor.clone() for name, tensor in state.items() if name != "classifier.bias"}
    saved(state | {"extra": torch.zeros(2)}, folder / "model.safetensors")
    with pytest.raises(
        ModelError, match=r"(?s)1 missing: classifier\.bias \[3\].*1 unexpected: extra"
    ):
        build(f"transformers:{folder}")


def test_tied_weights_that_the_file_leaves_out_are_present(tmp_path):
    original = BertForMaskedLM(BertConfig(**BERT))
    weights = folder_of(original, tmp_path / "model") / "model.safetensors"
    assert len(read_safetensors(weights)) < len(original.state_dict())
    other = BertForMaskedLM(BertConfig(**BERT))
    load_weights(other, weights)
    assert same(other, original)
    assert other.cls.predictions.decoder.weight is other.bert.embeddings.word_embeddings.weight


def test_tied_weights_of_any_module_may_be_left_out(tmp_path):
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    path = saved(
        {"0.weight": torch.ones(3, 3), "0.bias": torch.ones(3), "1.bias": torch.zeros(3)},
        tmp_path / "w",
    )
    load_weights(nn.Sequential(first, second), path)
    assert torch.equal(second.weight, torch.ones(3, 3))
    with pytest.raises(ModelError, match=r"1 missing: 1\.weight"):
        load_weights(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), path)


def test_folders_without_safetensors_are_refused(tmp_path):
    folder = folder_of(image_classifier("resnet"), tmp_path / "model")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UsageError, match="no weights"):
        build(f"transformers:{folder}")
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UnsafeFileError, match="weights_only=True"):
        build(f"transformers:{folder}")


def test_code_in_a_folder_is_never_run(tmp_path):
    folder = folder_of(image_classifier("resnet"), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "custom", "auto_map": {"AutoConfig": "evil.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')")
    with pytest.raises(UsageError, match="no usable config"):
        build(f"transformers:{folder}")
    assert not (tmp_path / "canary").exists()


def test_unreachable_or_absent_folders_are_usage_errors(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="there is no such folder"):
        build("transformers:./absent")
    with pytest.raises(UsageError, match="the hub was not reached"):
        build("transformers:nobody/no-such-model")
    with pytest.raises(UsageError, match="no usable config"):
        build(f"transformers:{tmp_path}")


@pytest.mark.parametrize(
    "recipe",
    [
        {},
        {"spec": "transformers:x", "auto_class": "pipeline", "config": {}},
        {"spec": "transformers:x", "auto_class": "AutoModel", "config": {}},
        {
            "spec": "transformers:x",
            "auto_class": "AutoModel",
            "config": {"model_type": "no-such-type"},
        },
        {"spec": "shell:rm", "num_classes": 2},
    ],
)
def test_a_malformed_recipe_is_refused(recipe):
    with pytest.raises(ModelError):
        rebuild(recipe)


# ---- weights that do not fit ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "prefixes", [["module."], ["_orig_mod."], ["module.", "_orig_mod."], ["_orig_mod.", "module."]]
)
def test_wrapper_prefixes_are_stripped_with_a_notice(tmp_path, prefixes):
    original, model = DigitsCNN(), DigitsCNN()
    state = {"".join(prefixes) + name: tensor for name, tensor in original.state_dict().items()}
    assert load_weights(model, saved(state, tmp_path / "w")) == [
        f"stripped prefix {prefix}" for prefix in prefixes
    ]
    assert same(model, original)


def test_ten_of_each_kind_of_misfit_are_listed_and_nothing_is_loaded(tmp_path):
    model = nn.ModuleDict({f"layer{n}": nn.Linear(2, 3) for n in range(8)})
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    wrong = {
        "layer0.weight": torch.zeros(9, 2),
        "layer1.weight": torch.zeros(3, 2, dtype=torch.int64),
    }
    state = wrong | {f"extra{n}": torch.zeros(n) for n in range(2)} | {"layer0.bias": torch.ones(3)}
    with pytest.raises(ModelError) as caught:
        load_weights(model, saved(state, tmp_path / "w"))
    message = str(caught.value)
    assert "13 missing: layer1.bias [3], " in message
    assert message.count("missing") == 1
    assert len(re.findall(r"layer\d\.\w+ \[[\d, ]+\],", message.split("unexpected")[0])) == 9
    assert "2 unexpected: extra0 [0], extra1 [1]" in message
    assert "layer0.weight [9, 2], not [3, 2]" in message
    assert "1 of integers: layer1.weight torch.int64" in message
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_shards_of_fsdp_training_are_refused(tmp_path):
    path = saved({"layer._fsdp_wrapped_module._flat_param": torch.zeros(2)}, tmp_path / "w")
    with pytest.raises(ModelError, match="consolidate the shards first"):
        load_weights(nn.Linear(2, 1), path)


def sharded(folder: Path, shard: str) -> Path:
    state = DigitsCNN().state_dict()
    half = len(state) // 2
    saved(dict(list(state.items())[:half]), folder / "a.safetensors")
    saved(dict(list(state.items())[half:]), folder / "b.safetensors")
    files = {name: "a.safetensors" if n < half else shard for n, name in enumerate(state)}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": files}, indent=1))
    return index


def test_shards_of_the_same_folder_are_read_together(tmp_path):
    assert (
        read_safetensors(sharded(tmp_path, "b.safetensors")).keys()
        == DigitsCNN().state_dict().keys()
    )


@pytest.mark.parametrize(
    "shard", ["../b.safetensors", "https://x.org/b", "/etc/b", "sub/b", "..", "a\\b", "", ".b", 3]
)
def test_shards_elsewhere_are_refused(tmp_path, shard):
    with pytest.raises(UnsafeFileError, match="same folder"):
        read_safetensors(
            sharded(tmp_path, shard)
            if isinstance(shard, str)
            else odd_index(tmp_path, {"a": shard})
        )


def odd_index(folder: Path, weight_map: object) -> Path:
    (folder / "index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder / "index.json"


def test_shards_that_repeat_a_tensor_or_are_missing_are_refused(tmp_path):
    saved({"x": torch.zeros(1)}, tmp_path / "a")
    saved({"x": torch.ones(1)}, tmp_path / "b")
    with pytest.raises(ModelError, match="'x' is in more than one shard"):
        read_safetensors(odd_index(tmp_path, {"x": "a", "y": "b"}))
    with pytest.raises(UsageError, match="cannot be read"):
        read_safetensors(odd_index(tmp_path, {"x": "absent"}))
    with pytest.raises(ModelError, match="not an index"):
        read_safetensors(odd_index(tmp_path, [1]))


# ---- files that are refused ----------------------------------------------------------------------


class Payload:
    """Creates a file when unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return builtins.open, (str(self.canary), "w")


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors", "model.bin"])
@pytest.mark.parametrize(
    "kind", ["torch", "torch legacy", "pickle 0", "pickle 2", "pickle 5", "tar", "gzip"]
)
def test_pickles_and_archives_are_refused_by_content_and_never_run(tmp_path, name, kind):
    path, canary = tmp_path / name, tmp_path / "canary"
    payload = {"weights": Payload(canary)}
    if kind.startswith("torch"):
        torch.save(payload, path, _use_new_zipfile_serialization=kind == "torch")
    elif kind.startswith("pickle"):
        path.write_bytes(pickle.dumps(payload, protocol=int(kind[-1])))
    elif kind == "tar":
        with tarfile.open(path, "w") as archive:
            archive.add(__file__, "data.pkl")
    else:
        path.write_bytes(b"\x1f\x8b\x08\x00" + bytes(20))
    with pytest.raises(UnsafeFileError) as caught:
        read_safetensors(path)
    assert caught.value.exit_code == 5
    assert f'torch.load("{name}", weights_only=True)' in str(caught.value)
    assert "safetensors.torch.save_file(state" in str(caught.value)
    assert not canary.exists()


def test_paths_that_are_not_regular_files_are_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", Path("/dev/null")):
        with pytest.raises(UnsafeFileError, match="not a regular file"):
            read_safetensors(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_safetensors(tmp_path / "absent.safetensors")


ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "data", "reason"),
    [
        (
            {"a": ONE, "b": ONE | {"data_offsets": [4, 12]}},
            bytes(12),
            "invalid offset for tensor `b`",
        ),
        ({"a": ONE | {"data_offsets": [-8, 0]}}, bytes(8), "invalid"),
        ({"a": ONE}, bytes(4), "not fully covered"),
        ({"a": ONE}, bytes(8) + b"PK\x05\x06", "not fully covered"),
        ({"a": ONE | {"shape": [3]}}, bytes(8), "invalid shape"),
        (
            {"a": {"dtype": "F32", "shape": [0, 2**40], "data_offsets": [0, 0]}},
            b"",
            "'a' has shape",
        ),
        (
            {"a": {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}},
            bytes(8),
            "'a' is torch.float8_e4m3fn",
        ),
        ({"a\x1b[31m": ONE}, bytes(8), "control characters"),
        ({"a" * 513: ONE}, bytes(8), "too long"),
        ({"a": 5}, b"", "not a valid safetensors file"),
        (
            b'{"a": ' + json.dumps(ONE).encode() + b', "a": ' + json.dumps(ONE).encode() + b"}",
            bytes(8),
            "'a' is in the header 2",
        ),
        (b"{not json", b"", "not valid JSON"),
        (b"[]", b"", "not a valid safetensors file"),
        ('{"a": 1}'.encode("utf-16"), b"", "not valid JSON"),
        (b'{"a":' * 100_000, b"", "not valid JSON"),
    ],
)
def test_damaged_headers_are_model_errors(tmp_path, header, data, reason):
    with pytest.raises(ModelError, match=re.escape(reason)):
        read_safetensors(raw_file(tmp_path / "w.safetensors", header, data))


@pytest.mark.parametrize(
    "content", [b"", b"1234567", b"<html>not a model</html>", struct.pack("<Q", 2**60) + b"{}"]
)
def test_files_that_are_nothing_are_model_errors(tmp_path, content):
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="not a safetensors file"):
        read_safetensors(tmp_path / "w.safetensors")


@pytest.mark.parametrize("left", [7, 100, -1])
def test_cut_off_files_are_model_errors(digits_file, left):
    digits_file.write_bytes(digits_file.read_bytes()[:left])
    with pytest.raises(ModelError):
        read_safetensors(digits_file)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_that_are_not_finite_are_named(tmp_path, value, dtype):
    path = saved(
        {"good": torch.zeros(2), "bad": torch.tensor([0, value], dtype=dtype)}, tmp_path / "w"
    )
    with pytest.raises(ModelError, match="'bad' has NaN or infinite values"):
        read_safetensors(path)


@pytest.mark.parametrize("length", [123, 640, 0x303030])
def test_header_lengths_that_look_like_json_or_pickle_are_read(tmp_path, length):
    text = json.dumps({"a": ONE}).encode().ljust(length)
    assert read_safetensors(raw_file(tmp_path / "w", text, bytes(8))).keys() == {"a"}


# ---- models that cannot be used ------------------------------------------------------------------


class PackedLinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(2, 2, dtype=torch.int8))


def dynamic_int8() -> nn.Module:
    return torch.ao.nn.quantized.dynamic.Linear(2, 2)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            lambda: nn.Sequential(nn.LazyLinear(3)),
            "0.weight is not initialised: run one forward pass first",
        ),
        (lambda: nn.Sequential(nn.Linear(2, 3, device="meta")), "0.weight is on the meta device"),
        (
            lambda: nn.Sequential(PackedLinear()),
            r"0 \(PackedLinear\) is quantised: dequantise first",
        ),
        (dynamic_int8, "is quantised: dequantise first"),
    ],
)
def test_models_without_usable_weights_are_refused(make, reason):
    if make is dynamic_int8 and "fbgemm" not in torch.backends.quantized.supported_engines:
        pytest.skip("needs a CPU with int8 kernels")
    with pytest.raises(ModelError, match=reason):
        check_usable(make())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_ordinary_models_are_usable(dtype):
    check_usable(AllCNN().to(dtype))


HALVES = [torch.float16, torch.bfloat16, torch.float64]


@pytest.mark.parametrize("dtype", HALVES)
def test_a_weights_file_gives_the_model_its_dtype(tmp_path, digits_file, dtype):
    state = {name: value.to(dtype) for name, value in read_safetensors(digits_file).items()}
    model = build(DIGITS, weights=saved(state, tmp_path / "w.safetensors")).model
    assert {value.dtype for value in model.state_dict().values()} == {dtype}
    assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())


@pytest.mark.parametrize("dtype", HALVES)
def test_a_transformers_folder_gives_the_model_its_dtype(tmp_path, dtype):
    made = ViTForImageClassification(ViTConfig(**VIT)).to(dtype)
    made.save_pretrained(tmp_path)
    model = build(f"transformers:{tmp_path}").model
    assert {value.dtype for value in model.state_dict().values()} == {dtype}


def test_mixed_dtypes_stay_mixed(tmp_path):
    mixed = nn.Sequential(nn.Conv2d(1, 2, 3).half(), nn.BatchNorm2d(2))
    given = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2).half())
    load_weights(given, saved(mixed.state_dict(), tmp_path / "w.safetensors"))
    for name, value in mixed.state_dict().items():
        assert given.state_dict()[name].dtype == value.dtype, name
