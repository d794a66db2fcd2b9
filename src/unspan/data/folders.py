"""A folder of image files as labelled splits."""

import hashlib
import itertools
import os
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from unspan.data.images import IMAGE_SUFFIXES, check_header, decode_image, printable
from unspan.data.source import MOST_READ, SPLIT_NAMES, Rows, Source
from unspan.errors import DataError


@dataclass(frozen=True)
class ImageFiles:
    """Rows kept as image files under one folder.

    Attributes:
        root: the folder.
        files: paths relative to it, with forward slashes.
    """

    root: Path
    files: list[str]

    def __len__(self) -> int:
        return len(self.files)

    def name(self, i: int) -> str:
        return printable(self.files[i])

    def raw(self, i: int) -> bytes:
        try:
            return (self.root / self.files[i]).read_bytes()
        except OSError as error:
            raise DataError(
                f"{self.name(i)}: cannot read the file ({error.strerror}); was it moved?"
            ) from None

    def load(self, i: int) -> tuple[Image.Image, str | None]:
        return decode_image(self.raw(i), self.name(i))

    def paths(self) -> list[str | None]:
        return list(self.files)

    def ids(self) -> None:
        return None

    def contents(self) -> list[Any] | None:
        """Files of a size of their own are told apart by it, others by their bytes."""
        try:
            sizes = [(self.root / file).stat().st_size for file in self.files]
        except OSError:  # reported by the pass that reads the samples, with the name
            return None
        count = Counter(sizes)
        if sum(size for size in sizes if count[size] > 1) > MOST_READ:
            return None
        return [
            size if count[size] == 1 else hashlib.sha256(self.raw(i)).digest()
            for i, size in enumerate(sizes)
        ]


_NAMED = 10  # damaged images that one message names
_CHECKED = 20_000  # images that are looked at for it
_DECODED = 2**25  # bytes of images that are decoded for it; of further ones the header is read


def damaged_images(stored: Rows, first: int) -> str:
    """A sentence that names images that cannot be read, beside the first one that was met.

    Small folders are decoded; of large ones the headers are read. Empty where nothing was found, or
    where the samples are not image files.

    Args:
        stored: the stored samples of a split.
        first: position of the image that could not be read.
    """
    if not isinstance(stored, ImageFiles):
        return ""
    left = _DECODED
    found = []
    for at in range(min(len(stored), _CHECKED)):
        if at == first:
            continue
        size = _size(stored.root / stored.files[at])
        left -= size
        if not _is_readable(stored, at, decode=left >= 0):
            found.append(stored.name(at))
    if not found:
        return ""
    more = len(found) + 1 - _NAMED
    shown = ", ".join(found[: _NAMED - 1]) + (f" and {more} more" if more > 0 else "")
    all_decoded = left >= 0 and len(stored) <= _CHECKED
    count = f"{'' if all_decoded else 'At least '}{len(found) + 1} of the {len(stored)} images"
    return f"{count} cannot be read; the others are {shown}"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _is_readable(files: ImageFiles, at: int, *, decode: bool) -> bool:
    try:
        if decode:
            files.load(at)
        else:
            check_header(files.root / files.files[at])
    except (DataError, OSError, ValueError):
        return False
    return True


@dataclass
class _Scan:
    images: list[str] = field(default_factory=list)
    folders: int = 0
    hidden: int = 0
    others: int = 0


def open_image_folder(root: Path) -> dict[str, Source]:
    """List a folder of images: ``class/*.jpg``, ``train/class/*.jpg`` (also test, validation), or
    images only.

    Class names are the folder names of all splits together, sorted, so that a label means the same
    in each of them. A class may have subfolders; empty folders and hidden files are skipped.
    Nothing is decoded.

    Raises:
        DataError: no image, images both beside and inside class folders, or a link that leaves the
            folder.
    """
    found = _scan(root)
    if not found.images:
        raise DataError(
            f"{root}: no images: found {found.folders} folders, 0 images, {found.hidden} hidden"
            f" files, {found.others} other files; give a folder of class folders, or of images"
        )
    tops = {file.partition("/")[0] for file in found.images}
    split_of = {top: SPLIT_NAMES[top.lower()] for top in tops if top.lower() in SPLIT_NAMES}
    by_split: dict[str, list[tuple[str, str]]] = defaultdict(list)
    if len(split_of) == len(tops):
        for file in found.images:
            top, _, rest = file.partition("/")
            by_split[split_of[top]].append((file, rest))
    else:
        by_split["train"] = [(file, file) for file in found.images]
    classes = {split: [_class_of(rest) for _, rest in files] for split, files in by_split.items()}
    found_names = set(itertools.chain(*classes.values()))
    names = sorted(name for name in found_names if name is not None)
    return {
        split: _image_split(root, [f for f, _ in by_split[split]], classes[split], names)
        for split in by_split
    }


def _class_of(path: str) -> str | None:
    folder, slash, _ = path.partition("/")
    return os.fsencode(folder).decode("utf-8", "backslashreplace") if slash else None


def _image_split(
    root: Path, files: list[str], classes: list[str | None], names: list[str]
) -> Source:
    loose = classes.count(None)
    if loose == len(files):
        return Source(ImageFiles(root, files), None, None)
    if loose:
        example = printable(files[classes.index(None)])
        raise DataError(
            f"{root}: {loose} images such as {example} lie beside the class folders; move them"
            " into one"
        )
    index = {name: i for i, name in enumerate(names)}
    return Source(
        ImageFiles(root, files), [index[name] for name in classes if name is not None], names
    )


def _scan(root: Path) -> _Scan:
    found = _Scan()
    real_root = os.path.realpath(root)
    for folder, subfolders, files in os.walk(root, onerror=_unreadable):
        relative = Path(folder).relative_to(root)
        found.hidden += sum(name.startswith(".") for name in subfolders + files)
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        found.folders += len(subfolders)
        for name in subfolders:
            if os.path.islink(os.path.join(folder, name)):
                raise DataError(
                    f"{printable(str(relative / name))}: a link to a folder; copy the folder here"
                    " instead"
                )
        for name in files:
            path = os.path.join(folder, name)
            if name.startswith(".") or Path(name).suffix.lower() not in IMAGE_SUFFIXES:
                found.others += not name.startswith(".")
                continue
            if os.path.islink(path) and not os.path.realpath(path).startswith(real_root + os.sep):
                raise DataError(
                    f"{printable(str(relative / name))}: a link out of {root}; copy the file here"
                    " instead"
                )
            if os.path.isfile(path):
                found.images.append((relative / name).as_posix())
            else:
                found.others += 1
    found.images.sort(key=os.fsencode)
    return found


def _unreadable(error: OSError) -> None:
    raise DataError(
        f"{printable(str(error.filename))}: cannot list the folder ({error.strerror})"
    ) from None
