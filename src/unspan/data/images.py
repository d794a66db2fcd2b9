"""Images as stored: safe decoding, and the one conversion of any image to RGB."""

import io
import warnings
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError, features

from unspan.errors import DataError

_SUFFIXES = {
    "JPEG": {".jpg", ".jpeg"},
    "PNG": {".png"},
    "BMP": {".bmp"},
    "WEBP": {".webp"},
    "GIF": {".gif"},
    "TIFF": {".tif", ".tiff"},
    "PPM": {".ppm"},
}
if "avif" in features.modules and features.check("avif"):  # Pillow 11.3 or newer
    _SUFFIXES["AVIF"] = {".avif"}
IMAGE_SUFFIXES = set[str]().union(*_SUFFIXES.values())
_EXIF_ORIENTATION = 0x0112
_AVIF_NEEDS = "an AVIF image needs Pillow 11.3 or newer: pip install --upgrade pillow"


@lru_cache(maxsize=1024)
def printable(text: str) -> str:
    r"""Escape a file name or message to one printable line as Python does: ``\n``, ``\\``; a stray
    byte is ``\xff``.
    """
    return "".join(map(_printable_character, text))


def _printable_character(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how os.fsdecode keeps a byte that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    if character.isprintable() and character != "\\":
        return character
    return character.encode("unicode_escape").decode()


def to_rgb(image: Image.Image) -> tuple[Image.Image, str | None]:
    """Convert any image to 8-bit RGB, and say what was done.

    In this order: the first frame of an animation; rotation by EXIF; 16-bit and 32-bit integer
    samples from 0..65535 to 0..255; float samples from 0..1 (or, above 1, from 0..255) to 0..255;
    transparency over white; any other mode by Pillow's own conversion.

    Args:
        image: any Pillow image.

    Returns:
        The RGB image, and a note such as ``"EXIF rotated, RGBA->RGB"``; None when nothing was
        converted.
    """
    notes = []
    if getattr(image, "is_animated", False):
        image.seek(0)
        notes.append("first frame only")
    if image.getexif().get(_EXIF_ORIENTATION, 1) in range(2, 9):
        image = ImageOps.exif_transpose(image)
        notes.append("EXIF rotated")
    if image.mode != "RGB" or image.has_transparency_data:
        notes.append(f"{image.mode}->RGB" if image.mode != "RGB" else "transparent RGB->RGB")
        image = _opaque_rgb(_eight_bit(image))
    return image, ", ".join(notes) or None


def _eight_bit(image: Image.Image) -> Image.Image:
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    if image.mode.startswith("I"):
        values = values / 257
    elif values.max() <= 1:
        values = values * 255
    return Image.fromarray(np.rint(values.clip(0, 255)).astype(np.uint8))


def _opaque_rgb(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def decode_image(data: bytes, name: str) -> tuple[Image.Image, str | None]:
    """Decode an encoded image to RGB.

    Only the formats of `_SUFFIXES` are tried, so no other parser (nor Ghostscript, for EPS) ever
    sees the bytes, and Pillow's pixel limit is checked against the header before any pixel is
    decoded.

    Args:
        data: the encoded bytes.
        name: where they come from; used in messages, and its extension is compared with the format.

    Returns:
        The RGB image, and the note of `to_rgb`, with ``"GIF file named .jpg"`` when the extension
        is wrong.

    Raises:
        DataError: empty, damaged, not an image, or more pixels than `PIL.Image.MAX_IMAGE_PIXELS`.
    """
    if not data:
        raise DataError(f"{name}: the image is empty (0 bytes); replace or remove it")
    try:
        image = _open(io.BytesIO(data))
        if image.format == "PNG":
            image.verify()  # decoding alone skips the checksums
            image = _open(io.BytesIO(data))
        image.load()
        rgb, note = to_rgb(image)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(
            f"{name}: {printable(str(error))} Scale the image down, or remove it"
        ) from None
    except UnidentifiedImageError:
        known = ", ".join(_SUFFIXES)
        if data[4:12] == b"ftypavif" and "AVIF" not in _SUFFIXES:
            raise DataError(f"{name}: {_AVIF_NEEDS}") from None
        raise DataError(
            f"{name}: not an image, or a damaged one (tried {known}); replace or remove it"
        ) from None
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - parsers raise almost anything on a damaged file
        reason = printable(f"{type(error).__name__}: {error}")
        raise DataError(
            f"{name}: cannot decode the image ({reason}); replace or remove it"
        ) from None
    notes = [_wrong_suffix(image.format or "", PurePosixPath(name).suffix.lower()), note]
    return rgb, ", ".join(filter(None, notes)) or None


def check_header(path: Path) -> None:
    """Read the header of an image file, and no pixels.

    Raises:
        OSError: the file cannot be read, or is no image of a known format.
        DataError: the image has more pixels than `PIL.Image.MAX_IMAGE_PIXELS`.
    """
    try:
        with path.open("rb") as file:
            _open(file)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"{path.name}: {printable(str(error))}") from None


def _open(file: BinaryIO) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(file, formats=list(_SUFFIXES))


def _wrong_suffix(file_format: str, suffix: str) -> str | None:
    expected = _SUFFIXES["JPEG" if file_format == "MPO" else file_format]
    return f"{file_format} file named {suffix}" if suffix in IMAGE_SUFFIXES - expected else None
