"""What the networks of the zoo expect of pixels, as their `preprocess`."""

from __future__ import annotations

from typing import Any


def pixels(
    mean: tuple[float, ...],
    std: tuple[float, ...],
    *,
    scale: float = 1 / 255,
    resize: tuple[int, int] | None = None,
    interpolation: str = "bilinear",
) -> dict[str, Any]:
    """Return the `preprocess` of a network: pixels times `scale`, less `mean`, over `std`.

    Args:
        mean: one value a channel; one channel means grey images.
        std: one value a channel.
        scale: what stored values 0 to 255 are multiplied by first.
        resize: height and width in pixels; None leaves images as they are.
        interpolation: of resizing.
    """
    return {
        "resize": resize,
        "crop": None,
        "interpolation": interpolation,
        "mean": mean,
        "std": std,
        "scale": scale,
        "mode": "L" if len(mean) == 1 else "RGB",
    }
