"""Read the `preprocessor_config.json` of transformers, as written by any release."""

import re
from collections.abc import Mapping
from typing import Any

from unspan.errors import UsageError

_FILTER = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
# transformers before 4.26 wrote `size` as an integer: these classes read it as the shorter side,
# the others as square
_SHORTER_SIDE = re.compile("CLIP|ConvNext|ChineseCLIP|MobileNetV")
_OTHER_RESIZE = re.compile("Levit|PoolFormer|Perceiver")
_OTHER_STEPS = re.compile(
    "do_(?!resize$|center_crop$|rescale$|normalize$|convert_rgb$|reduce_labels$)"
    "|include_top|rescale_offset"
)


def transformers_fields(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `Preprocess` for the contents of a `preprocessor_config.json`.

    Raises:
        UsageError: the file asks for a step that `Preprocess` does not have.
    """
    kind = str(cfg.get("image_processor_type") or cfg.get("feature_extractor_type") or "")
    if _OTHER_RESIZE.match(kind):
        raise UsageError(
            f"{kind} resizes in its own way, which is not supported; pass your own Preprocess"
        )
    if steps := sorted(key for key, value in cfg.items() if value and _OTHER_STEPS.match(key)):
        raise UsageError(
            f"preprocessor_config.json: {', '.join(steps)} is not supported; pass your own"
            " Preprocess"
        )
    resize = crop = None
    if cfg.get("do_resize", True) and cfg.get("size") is not None:
        resize = _size(cfg["size"], shorter_side=bool(_SHORTER_SIDE.match(kind)))
    if cfg.get("do_center_crop", cfg.get("crop_size") is not None):
        crop = _size(cfg.get("crop_size"), shorter_side=False)
    if kind.startswith("ConvNext") and isinstance(resize, int):
        if resize < 384:
            crop = (resize, resize)
            resize = int(resize / (cfg.get("crop_pct") or 224 / 256))
        else:
            resize = (resize, resize)
    normalize = cfg.get("do_normalize", "image_mean" in cfg)
    if normalize and not (cfg.get("image_mean") and cfg.get("image_std")):
        raise UsageError(
            "preprocessor_config.json: do_normalize without image_mean and image_std; add both"
        )
    return {
        "resize": resize,
        "crop": crop,
        "interpolation": _FILTER.get(cfg.get("resample", 2), f"resample {cfg.get('resample')}"),
        "mean": tuple(cfg["image_mean"]) if normalize else (0.0, 0.0, 0.0),
        "std": tuple(cfg["image_std"]) if normalize else (1.0, 1.0, 1.0),
        "scale": cfg.get("rescale_factor", 1 / 255) if cfg.get("do_rescale", True) else 1.0,
        "crop_offset": "floor",
    }


def _size(size: Any, *, shorter_side: bool) -> Any:
    if isinstance(size, int):
        return size if shorter_side else (size, size)
    given = (
        {key: value for key, value in size.items() if value is not None}
        if isinstance(size, Mapping)
        else {}
    )
    if set(given) == {"height", "width"}:
        return (given["height"], given["width"])
    if set(given) == {"shortest_edge"}:
        return given["shortest_edge"]
    raise UsageError(
        f"preprocessor_config.json: size {size!r} is not supported; pass your own Preprocess"
    )
