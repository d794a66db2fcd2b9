"""Models of embeddings and their data, as `unspan` takes them: faces and voices.

Faces: photos of `lfw62`, dlib's face network (the file of weights in UNSPAN_FACE_WEIGHTS).
Voices: spoken digits of `fsdd`, the encoder of the package resemblyzer (`pip install resemblyzer
librosa soundfile 'setuptools<81'`). Data lie in the folder that UNSPAN_SHARED names. People are
numbered, so that no name gets into a receipt.

    unspan erase --model python:examples.people:face_net --data python:examples.people:faces \
        --forget 4 --feature-layer output --allow-identifying-projector --out build/face-erased
    unspan erase --model python:examples.people:voice_encoder --data python:examples.people:voices \
        --forget 2 --allow-identifying-projector --out build/voice-erased
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from unspan.data.preprocess import Preprocess
from unspan.zoo.face import FaceIdentities, FaceNet
from unspan.zoo.face import face_net as published_face_net

SHARED = Path(os.environ.get("UNSPAN_SHARED", Path(__file__).resolve().parents[2] / "shared"))
RATE = 16_000  # samples a second that the encoder of voices takes
LENGTH = 25_600  # samples of one window of it


class Photos(Dataset[tuple[Tensor, int]]):
    """Photos `[3, 150, 150]` of a split of lfw62, and the number of who is shown."""

    def __init__(self, split: str) -> None:
        rows = pq.read_table(SHARED / f"data/lfw62/{split}.parquet").to_pydict()
        self.files = [one["bytes"] for one in rows["image"]]
        self.people = rows["label"]
        self.prepare = Preprocess.from_dict(FaceIdentities.preprocess)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        photo = Image.open(io.BytesIO(self.files[index])).convert("RGB")
        return self.prepare(photo), self.people[index]


def faces() -> dict[str, Photos]:
    """Training and test photos of 62 people."""
    return {split: Photos(split) for split in ("train", "test")}


def face_net() -> FaceNet:
    """The face network of dlib: embeddings `[n, 128]`."""
    return published_face_net()


def voices() -> dict[str, TensorDataset]:
    """Training and test spectrograms `[160, 40]` of six people, and the number of who speaks."""
    return {split: _spectrograms(split) for split in ("train", "test")}


def voice_encoder() -> nn.Module:
    """The encoder of resemblyzer: embeddings `[n, 256]` of length 1."""
    from resemblyzer import VoiceEncoder

    return VoiceEncoder("cpu", verbose=False).eval()


def _spectrograms(split: str) -> TensorDataset:
    import librosa
    import soundfile
    from resemblyzer import wav_to_mel_spectrogram

    rows = pq.read_table(SHARED / f"data/fsdd/{split}.parquet").to_pydict()
    found = []
    for content in rows["wav"]:
        sound, rate = soundfile.read(io.BytesIO(content))
        sound = librosa.resample(sound.astype(np.float32), orig_sr=rate, target_sr=RATE)
        sound = 0.5 * sound / (np.abs(sound).max() + 1e-9)
        sound = np.tile(sound, LENGTH // len(sound) + 1)[:LENGTH]  # a digit is shorter than this
        found.append(torch.from_numpy(wav_to_mel_spectrogram(sound)[:160]))
    return TensorDataset(torch.stack(found), torch.tensor(rows["speaker"]))
