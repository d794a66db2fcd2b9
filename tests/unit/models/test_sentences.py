"""SentenceTransformer objects and folders: taken as they are, and usable as such when erased."""

import copy
import json

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import unspan
from unspan.cli.opening import open_model
from unspan.data.preprocess import TextPreprocess
from unspan.data.texts import Texts, with_preprocess
from unspan.erasure.choosing import situation_of
from unspan.errors import UnsafeFileError, UsageError
from unspan.extraction import describe
from unspan.methods import ESC, Redraw
from unspan.models import build, classes_of, recipe_of
from unspan.models.sentences import SentenceTokens, with_tokens

sentences = pytest.importorskip(
    "sentence_transformers",
    reason="needs sentence-transformers: pip install 'unspan[sentence-transformers]'",
)
transformers = pytest.importorskip("transformers")
modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")

pytestmark = pytest.mark.filterwarnings("ignore")
TOPICS, EACH = 12, 8
WORDS = [f"{kind}{topic}x{at}" for topic in range(TOPICS) for at in range(2) for kind in "ab"]


def make(folder, normalize):
    """A tiny network with random weights, in which texts of the same words lie together."""
    folder.mkdir()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join(special + WORDS))
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(special) + len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
        initializer_range=0.5,
    )
    transformers.BertModel(config).save_pretrained(folder)
    first = modules.Transformer(str(folder), max_seq_length=12)
    pooling = modules.Pooling(16)
    parts = [first, pooling, *([modules.Normalize()] if normalize else [])]
    return sentences.SentenceTransformer(modules=parts, device="cpu").eval()


@pytest.fixture(scope="module", params=[True, False], ids=["normalized", "pooled"])
def model(request, tmp_path_factory):
    return make(tmp_path_factory.mktemp("tiny") / "network", request.param)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model"
    model.save(str(path))
    return path


@pytest.fixture(scope="module")
def rows():
    """Texts of four words of their topic, each in an order of its own, with labels."""
    generator = torch.Generator().manual_seed(1)
    found = []
    for topic in range(TOPICS):
        words = [word for word in WORDS if word[1:].split("x")[0] == str(topic)]
        for _ in range(EACH):
            chosen = torch.randint(len(words), (4,), generator=generator)
            found.append({"text": " ".join(words[at] for at in chosen), "label": topic})
    return found


@pytest.fixture(scope="module")
def deletion(model, rows):
    return unspan.erase(model, unspan.Request.by_class(rows, 3), ESC(rank=2), max_drop=None)


def texts_of(rows, topic):
    return [row["text"] for row in rows if row["label"] == topic]


def test_encode_of_the_erased_model_is_the_erased_embedding(model, rows, deletion):
    own = texts_of(rows, 3)
    before = model.encode(own, convert_to_tensor=True)
    after = deletion.model.encode(own, convert_to_tensor=True)
    torch.testing.assert_close(after, deletion.eraser(before.double()).float())
    assert float((after - before).norm(dim=1).min()) > 0.01
    assert type(deletion.model) is type(model) and "erased" not in dict(model.named_children())
    torch.testing.assert_close(model.encode(own, convert_to_tensor=True), before)


def test_tokens_and_their_embeddings_are_not_handed_out(rows, deletion):
    own = texts_of(rows, 3)
    (said,) = deletion.model.encode(own[:1], output_value=None)
    floating = [
        name
        for name, one in said.items()
        if isinstance(one, torch.Tensor) and one.is_floating_point()
    ]
    assert floating == ["sentence_embedding"]
    with pytest.raises(KeyError):
        deletion.model.encode(own[:1], output_value="token_embeddings")


def test_save_of_the_library_keeps_the_eraser(tmp_path, rows, deletion):
    deletion.model.save(str(tmp_path / "own"))
    again = sentences.SentenceTransformer(
        str(tmp_path / "own"), device="cpu", trust_remote_code=True
    )
    own = texts_of(rows, 3)
    assert (again.encode(own) == deletion.model.encode(own)).all()


def test_a_folder_of_unspan_is_read_into_the_original(tmp_path, model, rows, deletion):
    deletion.save(tmp_path / "erased", allow_identifying_projector=True)
    again = unspan.load(tmp_path / "erased", model=copy.deepcopy(model))
    own = texts_of(rows, 3)
    assert (again.encode(own) == deletion.model.encode(own)).all()


def test_texts_alone_and_rows_and_pairs_are_the_same_request(model, rows, deletion):
    own = texts_of(rows, 3)
    pairs = [(row["text"], row["label"]) for row in rows]
    of_pairs = unspan.erase(model, unspan.Request.by_class(pairs, 3), ESC(rank=2), max_drop=None)
    alone = unspan.erase(model, own, ESC(rank=2), measure=False)
    for one in (of_pairs, alone):
        torch.testing.assert_close(one.eraser.matrix(), deletion.eraser.matrix())


def test_features_takes_texts(model, rows, deletion):
    own = texts_of(rows, 3)
    for one in (model, deletion.model):
        torch.testing.assert_close(
            unspan.features(one, own), one.encode(own, convert_to_tensor=True)
        )


def test_redraw_is_the_default_where_there_are_others(model, rows):
    request = with_tokens(model, unspan.Request.by_class(rows, 3))
    assert situation_of(model, request, unspan.Run()).recommended() is Redraw
    done = unspan.erase(model, request, Redraw(false_positives=0.3), measure=False)
    own = torch.from_numpy(model.encode(texts_of(rows, 3)))
    moved = (torch.from_numpy(done.model.encode(texts_of(rows, 3))) != own).any(1)
    assert torch.equal(moved, done.eraser.recognised(own.double()))


def test_a_second_request_keeps_the_first(model, rows, deletion):
    twice = unspan.erase(deletion, unspan.Request.by_class(rows, 5), ESC(rank=2), max_drop=None)
    for topic in (3, 5):
        own = texts_of(rows, topic)
        before = model.encode(own, convert_to_tensor=True).double()
        torch.testing.assert_close(
            twice.model.encode(own, convert_to_tensor=True), twice.eraser(before).float()
        )
    assert float((twice.eraser.matrix() - deletion.eraser.matrix()).norm()) > 0.1


def test_a_model_whose_eraser_is_not_known_any_more_is_refused(tmp_path, rows, deletion):
    deletion.model.save(str(tmp_path / "own"))
    again = sentences.SentenceTransformer(
        str(tmp_path / "own"), device="cpu", trust_remote_code=True
    )
    with pytest.raises(UsageError, match="was erased before"):
        unspan.erase(again, unspan.Request.by_class(rows, 5), ESC(rank=2), measure=False)


def test_the_default_prompt_of_the_model_is_read(tmp_path, rows):
    made = make(tmp_path / "network", True)
    plain = SentenceTokens(made)([rows[0]["text"]])
    made.prompts, made.default_prompt_name = {"query": WORDS[0] + " "}, "query"
    prompted = SentenceTokens(made)([rows[0]["text"]])
    assert prompted["input_ids"].shape[1] == plain["input_ids"].shape[1] + 1
    torch.testing.assert_close(
        unspan.features(made, [rows[0]["text"]]),
        made.encode([rows[0]["text"]], convert_to_tensor=True),
    )


def test_data_that_make_tokens_themselves_stay_as_they_are(model, rows):
    tokens = SentenceTokens(model)
    own = texts_of(rows, 3)
    made = [{key: one[0] for key, one in tokens([text]).items()} for text in own]
    request = with_tokens(model, unspan.Request(forget=made, retain=DataLoader(own)))
    assert request.forget is made and isinstance(request.retain, DataLoader)
    assert with_tokens(nn.Linear(2, 2), request) is request
    assert isinstance(with_preprocess(own, TextPreprocess(tokens)), Texts)


def test_a_folder_is_built_by_its_name(model, folder, rows):
    loaded = build(f"sentence-transformers:{folder}")
    own = texts_of(rows, 3)
    assert (loaded.model.encode(own) == model.encode(own)).all()
    assert loaded.preprocess.collate(own)["input_ids"].shape[0] == EACH
    assert json.loads(json.dumps(loaded.recipe)) == {"spec": f"sentence-transformers:{folder}"}
    assert classes_of(loaded.model) is None and recipe_of(loaded.model) is None
    assert "sentence_embedding" in describe(loaded.model(loaded.preprocess.collate(own)))


def test_an_erased_folder_of_the_command_line_reads_texts_again(tmp_path, folder, rows):
    loaded = build(f"sentence-transformers:{folder}")
    request = unspan.Request.by_class(rows, 3)
    done = unspan.erase(loaded.model, request, ESC(rank=2), recipe=loaded.recipe, max_drop=None)
    done.save(tmp_path / "erased", allow_identifying_projector=True)
    names = ("weights", "num_classes", "classes", "size", "mean", "std")
    options = dict.fromkeys(names) | {"model": str(tmp_path / "erased"), "trust_code": False}
    opened = open_model(options)
    own = texts_of(rows, 3)
    assert (opened.model.encode(own) == done.model.encode(own)).all()
    assert isinstance(opened.preprocess, TextPreprocess)


def test_what_is_no_saved_model_is_refused(tmp_path, folder):
    with pytest.raises(UsageError, match="modules.json"):
        build(f"sentence-transformers:{tmp_path}")
    with pytest.raises(UsageError, match="leave out --num-classes"):
        build(f"sentence-transformers:{folder}", num_classes=3)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UnsafeFileError, match="pickle"):
        build(f"sentence-transformers:{tmp_path}")


def test_an_audit_reads_texts(tmp_path, model, rows):
    request = unspan.Request.by_class(rows, 3)
    done = unspan.erase(model, request, ESC(rank=2), measure=False)
    found = unspan.audit(
        model, done, request, cache=tmp_path / "cache", pictures=False, allow_overlap=True
    )
    assert found.record.verdict
