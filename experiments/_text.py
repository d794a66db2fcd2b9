"""A small text classifier and its data, for `experiments/networks/banking77.toml`."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

SHARED = Path(os.environ.get("UNSPAN_SHARED", Path(__file__).resolve().parents[2] / "shared"))
WORDS, LENGTH = 2048, 32
START, UNKNOWN = 1, 2  # after 0, which fills up


class TextClassifier(nn.Module):
    """BERT of three blocks and width 128, normalised after each part; `[n, 32]` word numbers."""

    def __init__(self, num_classes: int = 77) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel

        self.body = BertModel(
            BertConfig(
                vocab_size=WORDS,
                hidden_size=128,
                num_hidden_layers=3,
                num_attention_heads=4,
                intermediate_size=512,
                max_position_embeddings=LENGTH,
            ),
            add_pooling_layer=False,
        )
        self.head = nn.Linear(128, num_classes)

    def forward(self, words: Tensor) -> Tensor:
        seen = (words > 0).long()
        return self.head(self.body(words, attention_mask=seen).last_hidden_state[:, 0])


def banking77() -> dict[str, TensorDataset]:
    """Questions to a bank as word numbers, and which of 77 intents they have."""
    parts = {
        split: pq.read_table(SHARED / f"data/banking77/{split}.parquet").to_pydict()
        for split in ("train", "test")
    }
    counts = Counter(word for text in parts["train"]["text"] for word in _words(text))
    known = {
        word: number
        for number, (word, _) in enumerate(counts.most_common(WORDS - UNKNOWN - 1), UNKNOWN + 1)
    }
    return {
        split: TensorDataset(
            torch.tensor([_numbers(text, known) for text in part["text"]]),
            torch.tensor(part["label"]),
        )
        for split, part in parts.items()
    }


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def _numbers(text: str, known: dict[str, int]) -> list[int]:
    found = [START, *(known.get(word, UNKNOWN) for word in _words(text))][:LENGTH]
    return found + [0] * (LENGTH - len(found))
