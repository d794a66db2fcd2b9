"""Grad-CAM panels (Figure 6 of the paper): where the original and the erased model look for the
forgotten class.

Pictures show samples of the request, so they are drawn only when asked for. Source: Selvaraju et
al., ICCV 2017; computed by captum.
"""

from __future__ import annotations

import base64
import io
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from unspan.auditing.readers import Subject
from unspan.data.inputs import place
from unspan.errors import UsageError
from unspan.extraction import eval_mode, forward, input_like, logits_of

_SIDE = 160  # pixels of a panel


def panels(
    before: Subject, after: Subject, inputs: Any, labels: Tensor | None, count: int
) -> list[dict[str, str]]:
    """One row of pictures for each of the first `count` samples: the image, and the regions either
    model uses.

    The target is the score of the sample's own class; a map is scaled to its own maximum.

    Args:
        before: the original.
        after: the erased model.
        inputs: `[n, 1 or 3, H, W]` forgotten test images as the model takes them.
        labels: `[n]` their classes.
        count: how many.

    Raises:
        UsageError: captum is not installed, not images, no labels, or no layer that keeps positions
            in both models.
    """
    if find_spec("captum") is None:
        raise UsageError(
            "captum is not installed: pip install 'unspan[captum]', or leave --include-images out."
        )
    if (
        not (isinstance(inputs, Tensor) and inputs.ndim == 4 and inputs.shape[1] in (1, 3))
        or labels is None
        or bool((labels < 0).any())
    ):
        raise UsageError("Grad-CAM needs images with 1 or 3 channels and their labels.")
    count = min(count, len(labels))  # a short batch is padded
    inputs, labels = inputs[:count], labels[:count]
    layers = [_last_map(one, inputs) for one in (before, after)]
    if None in layers:
        raise UsageError(
            "Grad-CAM needs a layer that keeps positions (a convolutional network); this model has"
            " none before its features."
        )
    maps = [
        _maps(one, str(layer), inputs, labels)
        for one, layer in zip((before, after), layers, strict=True)
    ]
    found = []
    for i, image in enumerate(_visible(inputs)):
        found.append(
            {
                "caption": f"forgotten test sample {i + 1}",
                "image": _png(image),
                "before": _png(_over(image, maps[0][i])),
                "after": _png(_over(image, maps[1][i])),
            }
        )
    return found


def _last_map(one: Subject, inputs: Tensor) -> str | None:
    """The last module without children before the features whose output is a map larger than one
    position.
    """
    ran: list[str] = []
    handles = []
    for name, module in one.model.named_modules():
        if not list(module.children()):
            handles.append(
                module.register_forward_hook(
                    lambda _m, _a, out, name=name: (
                        ran.append(name)
                        if isinstance(out, Tensor)
                        and out.ndim == 4
                        and out.shape[-1] > 1
                        and out.requires_grad
                        else None
                    )
                )
            )
    try:
        with eval_mode(one.model), torch.enable_grad():
            forward(
                one.model,
                place(
                    inputs[:1].clone().requires_grad_(),
                    input_like(one.model, inputs[:1].clone().requires_grad_()),
                ),
            )
    finally:
        for handle in handles:
            handle.remove()
    return ran[-1] if ran else None


def _maps(one: Subject, layer: str, inputs: Tensor, labels: Tensor) -> Tensor:
    """`[n, H, W]` in [0, 1]."""
    from captum.attr import LayerGradCam

    def scores(x: Tensor) -> Tensor:
        found = logits_of(forward(one.model, x))
        assert found is not None
        return found.flatten(1)

    parameter = next(one.model.parameters(), None)
    target = labels if parameter is None else labels.to(parameter.device)
    with eval_mode(one.model), torch.enable_grad():
        raw = LayerGradCam(scores, one.model.get_submodule(layer)).attribute(
            place(inputs, parameter), target=target, relu_attributions=True
        )
    large = nn.functional.interpolate(
        raw.detach().float().cpu(), inputs.shape[-2:], mode="bilinear", align_corners=False
    )[:, 0]
    return large / large.amax((1, 2), keepdim=True).clamp_min(1e-12)


def _visible(inputs: Tensor) -> Tensor:
    """`[n, 3, H, W]` in [0, 1], each image scaled to its own range."""
    x = inputs.float().cpu()
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    return ((x - low) / (high - low).clamp_min(1e-12)).expand(-1, 3, -1, -1)


def _over(image: Tensor, strength: Tensor) -> Tensor:
    """The map in colour over the image in grey."""
    from matplotlib import colormaps

    colour = (
        torch.from_numpy(colormaps["viridis"](strength.numpy())[..., :3]).permute(2, 0, 1).float()
    )
    return 0.45 * image.mean(0, keepdim=True) + 0.55 * colour


def _png(image: Tensor) -> str:
    """`[3, H, W]` in [0, 1] as a data address."""
    from PIL import Image

    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    side = max(pixels.shape[:2])
    picture = Image.fromarray(pixels)
    if side < _SIDE:
        times = _SIDE // side
        picture = picture.resize(
            (pixels.shape[1] * times, pixels.shape[0] * times), Image.Resampling.NEAREST
        )
    else:
        picture.thumbnail((_SIDE, _SIDE))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
