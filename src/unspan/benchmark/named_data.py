"""The datasets that specs call by name, and how a person gets each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from unspan.benchmark import formats


@dataclass(frozen=True)
class Named:
    """A dataset that specs call by name.

    Attributes:
        hub: id on the Hugging Face hub, None where its licence keeps it from there.
        reader: of the files its authors publish.
        get: how a person gets it.
        label: column of the hub's table, where there are several.
        places: folders that are looked in beside the root.
        people: whether its classes are people, whom results do not name.
    """

    hub: str | None
    reader: formats.Reader
    get: str
    label: str | None = None
    places: tuple[str, ...] = ()
    people: bool = False


NAMED: dict[str, Named] = {
    "cifar10": Named(
        "uoft-cs/cifar10",
        formats.cifar,
        "the binary version from https://www.cs.toronto.edu/~kriz/cifar.html, or Parquet files of"
        " uoft-cs/cifar10",
    ),
    "cifar100": Named(
        "uoft-cs/cifar100",
        formats.cifar,
        "the binary version from https://www.cs.toronto.edu/~kriz/cifar.html, or Parquet files of"
        " uoft-cs/cifar100",
        label="fine_label",
    ),
    "tiny-imagenet": Named(
        "zh-plus/tiny-imagenet",
        formats.tiny_imagenet,
        "tiny-imagenet-200.zip from http://cs231n.stanford.edu/tiny-imagenet-200.zip, unpacked",
    ),
    "fashion-mnist": Named(
        "zalando-datasets/fashion_mnist",
        formats.idx,
        "apt install dataset-fashion-mnist (Debian), or the four idx files from"
        " https://github.com/zalandoresearch/fashion-mnist",
        places=("/usr/share/datasets/fashion-mnist",),
    ),
    "lacuna10": Named(
        None,
        formats.lacuna,
        "VGGFace2 (its licence forbids copies on a hub): folders n000001/*.jpg; Lacuna-10 is drawn"
        " from them",
        people=True,
    ),
    "mufac": Named(
        None,
        formats.mufac,
        "MUFAC from https://github.com/ndb796/korean_family_dataset, unpacked"
        " (custom_train_dataset.csv, train_images/, ...)",
    ),
    "tiny-imagenet-40": Named(
        None,
        formats.tables,
        "every fifth of the 200 classes of tiny-imagenet-200, 500 training and 50 validation images"
        " each, as train.parquet and test.parquet with the columns image and label",
    ),
    "lfw62": Named(
        None,
        formats.tables,
        "the people of LFW (http://vis-www.cs.umass.edu/lfw/) with at least 20 images, at most 40"
        " each, the central 150 pixels, as train.parquet and test.parquet with the columns image"
        " and label",
        people=True,
    ),
    "utkface-age8": Named(
        None,
        formats.tables,
        "UTKFace (https://susanqq.github.io/UTKFace/) in 8 groups of age, as train.parquet and"
        " test.parquet with the columns image and label",
    ),
    **{
        f"mucac-{name.lower()}": Named(
            None,
            partial(formats.mucac, attribute=name),
            "MUCAC from"
            " https://github.com/ndb796/CelebA-HQ-Face-Identity-and-Attributes-Recognition-PyTorch,"
            " unpacked (CelebA-HQ-identity.txt, CelebA-HQ-attribute.txt, CelebA-HQ-img/)",
        )
        for name in ("Male", "Smiling", "Young")
    },
    "raf-db": Named(
        None,
        formats.raf_db,
        "RAF-DB from http://www.whdeng.cn/raf/model1.html, the basic set (EmoLabel/,"
        " Image/aligned/)",
    ),
}
