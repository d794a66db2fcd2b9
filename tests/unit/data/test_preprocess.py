import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unspan.data.preprocess import Preprocess, TextPreprocess, crop_start, resized_size, to_rgb
from unspan.errors import UsageError


def noise(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    shape = (height, width, len(mode)) if len(mode) > 1 else (height, width)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def test_default_only_scales_to_unit_range():
    image = noise(5, 3)
    expected = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    actual = Preprocess()(image)
    assert actual.dtype == torch.float32 and actual.is_contiguous()
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-7)


def test_normalises_per_channel_in_float32():
    image = Image.new("RGB", (2, 2), (51, 102, 255))
    actual = Preprocess(mean=(0.1, 0.2, 0.5), std=(0.1, 0.5, 0.25))(image)
    torch.testing.assert_close(actual[:, 0, 0], torch.tensor([1.0, 0.4, 2.0]), rtol=0, atol=1e-6)


def test_grey_mode_gives_one_channel():
    image = noise(4, 4, "L")
    actual = Preprocess(mode="L", mean=(0.0,), std=(1.0,))(image)
    assert torch.equal((actual * 255).round().to(torch.uint8)[0], torch.from_numpy(np.array(image)))


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 300))
def test_shorter_side_becomes_the_resize_length(height, width, resize):
    out = resized_size((height, width), resize)
    assert min(out) == resize
    assert max(out) == resize * max(height, width) // min(height, width)
    assert (height < width) <= (out[0] <= out[1])


def test_exact_size_ignores_the_aspect_ratio():
    assert Preprocess(resize=(7, 9))(noise(30, 10)).shape == (3, 7, 9)


@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from(["round", "floor"]))
def test_crop_is_centred_to_one_pixel(length, crop, offset):
    start = crop_start(length, crop, offset)
    after = length - crop - start
    assert abs(start - after) <= 1


def test_crop_offsets_of_torchvision_and_transformers_differ_for_odd_remainders():
    assert [crop_start(length, 4, "round") for length in (5, 7, 9)] == [0, 2, 2]
    assert [crop_start(length, 4, "floor") for length in (5, 7, 9)] == [0, 1, 2]


def test_crop_larger_than_the_image_pads_with_black():
    out = Preprocess(crop=(6, 5))(Image.new("RGB", (2, 3), "white"))
    assert out.shape == (3, 6, 5)
    assert torch.equal(
        out[0].nonzero(), torch.cartesian_prod(torch.arange(1, 4), torch.arange(1, 3))
    )


@pytest.mark.parametrize("name", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_interpolation_is_pillows(name):
    image = noise(20, 20)
    resized = image.resize((9, 9), getattr(Image.Resampling, name.upper()))
    assert torch.equal(Preprocess(resize=9, interpolation=name)(image), Preprocess()(resized))


@pytest.mark.parametrize(
    "fields",
    [
        {"resize": 0},
        {"resize": True},
        {"resize": "224"},
        {"resize": (3,)},
        {"crop": 224},
        {"crop": (0, 3)},
        {"interpolation": "area"},
        {"mode": "CMYK"},
        {"mode": "L"},
        {"mean": (0.5,)},
        {"mean": (0.5, 0.5, float("nan"))},
        {"std": (1.0, 0.0, 1.0)},
        {"scale": float("inf")},
        {"crop_offset": "up"},
    ],
)
def test_impossible_fields_are_refused(fields):
    with pytest.raises(UsageError):
        Preprocess(**fields)


def test_json_round_trip():
    original = Preprocess(
        resize=256,
        crop=(224, 200),
        interpolation="bicubic",
        mean=(0.1, 0.2, 0.3),
        std=(1.0, 2.0, 3.0),
    )
    assert Preprocess.from_dict(json.loads(json.dumps(original.to_dict()))) == original


def test_unknown_json_key_is_refused():
    with pytest.raises(UsageError, match="crop_pct"):
        Preprocess.from_dict({"resize": 3, "crop_pct": 0.9})


def test_timm_center_and_squash_and_defaults():
    cfg = {
        "input_size": (3, 224, 224),
        "crop_pct": 0.9,
        "interpolation": "bicubic",
        "mean": (0.5,) * 3,
        "std": (0.5,) * 3,
    }
    assert Preprocess.from_timm(cfg) == Preprocess(
        resize=248, crop=(224, 224), interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3
    )
    assert Preprocess.from_timm(cfg | {"crop_mode": "squash", "crop_pct": 1.0}).resize == (224, 224)
    assert Preprocess.from_timm({}).resize == 256


@pytest.mark.parametrize(
    "cfg",
    [
        {"crop_mode": "border"},
        {"input_size": (3, 100, 200)},
        {"input_size": (4, 9, 9)},
        {"interpolation": "random"},
    ],
)
def test_timm_settings_we_do_not_do_are_refused(cfg):
    with pytest.raises(UsageError):
        Preprocess.from_timm(cfg)


def test_torchvision_preset():
    preset = SimpleNamespace(
        crop_size=[224],
        resize_size=[232],
        mean=[0.1, 0.2, 0.3],
        std=[1, 1, 1],
        interpolation=SimpleNamespace(value="bilinear"),
    )
    assert Preprocess.from_torchvision(preset) == Preprocess(
        resize=232, crop=(224, 224), mean=(0.1, 0.2, 0.3), std=(1, 1, 1)
    )
    with pytest.raises(UsageError, match="transforms"):
        Preprocess.from_torchvision(object())


NORMALISE = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
TRANSFORMERS_CASES = {
    "ViTImageProcessor": {"size": {"height": 31, "width": 40}, "resample": 2},
    "DeiTImageProcessor": {
        "size": {"height": 40, "width": 40},
        "crop_size": {"height": 33, "width": 31},
        "resample": 3,
    },
    "CLIPImageProcessor": {
        "size": {"shortest_edge": 37},
        "crop_size": {"height": 30, "width": 30},
        "resample": 3,
    },
    "ConvNextImageProcessor": {"size": {"shortest_edge": 30}, "crop_pct": 0.875, "resample": 3},
}


@pytest.mark.parametrize("kind", TRANSFORMERS_CASES)
@pytest.mark.parametrize("size", [(50, 67), (71, 38), (20, 25)])
def test_values_of_transformers_pil_processors(kind, size):
    transformers = pytest.importorskip("transformers")
    processor_class = getattr(transformers, f"{kind}Pil", None)
    if processor_class is None:
        pytest.skip("this transformers has no PIL image processors of their own")
    processor = processor_class(**TRANSFORMERS_CASES[kind], **NORMALISE)
    cfg = json.loads(processor.to_json_string())
    expected = processor(noise(*size), return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(
        Preprocess.from_transformers(cfg)(noise(*size)), expected, rtol=0, atol=1e-6
    )


def test_transformers_old_and_large_sizes():
    read = Preprocess.from_transformers
    assert read(
        {"feature_extractor_type": "ViTFeatureExtractor", "size": 224, **NORMALISE}
    ).resize == (224, 224)
    assert (
        read({"feature_extractor_type": "CLIPFeatureExtractor", "size": 224, **NORMALISE}).resize
        == 224
    )
    large = read(
        {
            "image_processor_type": "ConvNextImageProcessor",
            "size": {"shortest_edge": 384},
            **NORMALISE,
        }
    )
    assert (large.resize, large.crop) == ((384, 384), None)


def test_transformers_steps_can_be_switched_off():
    cfg = {
        "do_resize": False,
        "size": 9,
        "do_rescale": False,
        "do_normalize": False,
        "do_center_crop": False,
        **NORMALISE,
    }
    assert Preprocess.from_transformers(cfg) == Preprocess(scale=1.0, crop_offset="floor")


@pytest.mark.parametrize(
    "cfg",
    [
        {"size": {"shortest_edge": 3, "longest_edge": 9}},
        {"do_pad": True},
        {"do_flip_channel_order": True},
        {"include_top": True},
        {"resample": 4},
        {"do_normalize": True},
        {"image_processor_type": "LevitImageProcessor", "size": {"shortest_edge": 224}},
    ],
)
def test_transformers_steps_we_do_not_do_are_refused(cfg):
    with pytest.raises(UsageError):
        Preprocess.from_transformers(cfg)


def test_text_is_tokenised_per_batch():
    def tokenizer(texts, *, padding, truncation, return_tensors):
        assert padding and truncation and return_tensors == "pt"
        ids = [[len(word) for word in text.split()] for text in texts]
        longest = max(map(len, ids))
        return {"input_ids": torch.tensor([row + [0] * (longest - len(row)) for row in ids])}

    text = TextPreprocess(tokenizer)
    assert text("a b") == "a b"
    assert text.collate(["a bb", "ccc"])["input_ids"].tolist() == [[1, 2], [3, 0]]


def test_rgb_is_left_alone():
    image = noise(3, 3)
    assert to_rgb(image) == (image, None)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("L", 100, (100, 100, 100)),
        ("1", 1, (255, 255, 255)),
        ("LA", (0, 0), (255, 255, 255)),
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("I;16", 65535, (255, 255, 255)),
        ("I;16", 25700, (100, 100, 100)),
        ("I", 257 * 7, (7, 7, 7)),
        ("F", 0.2, (51, 51, 51)),
        ("F", 200.0, (200, 200, 200)),
        ("F", float("nan"), (0, 0, 0)),
    ],
)
def test_every_mode_becomes_rgb(mode, colour, expected):
    image, note = to_rgb(Image.new(mode, (2, 2), colour))
    assert (image.mode, image.getpixel((1, 1)), note) == ("RGB", expected, f"{mode}->RGB")


def test_palette_with_and_without_transparency():
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert to_rgb(palette)[0].getpixel((0, 0)) == (10, 20, 30)
    palette.info["transparency"] = 1
    image, note = to_rgb(palette)
    assert (image.getpixel((0, 0)), note) == ((255, 255, 255), "P->RGB")


def test_exif_rotation_is_applied_once():
    image = noise(4, 2, "L")
    image.getexif()[0x0112] = 6
    rotated, note = to_rgb(image)
    assert (rotated.size, note) == ((2, 4), "EXIF rotated, L->RGB")
    assert to_rgb(rotated) == (rotated, None)
    assert np.array_equal(np.array(rotated)[..., 0], np.rot90(np.array(image), -1))


@pytest.mark.parametrize("mode, channels", [("RGB", 3), ("L", 1)])
def test_values_are_those_of_the_formula_bit_for_bit(mode, channels):
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (9, 7, 3), generator=draw, dtype=torch.uint8)
    pixels[0, :2] = torch.tensor([[0], [255]])
    image = Image.fromarray(pixels.numpy()).convert(mode)
    mean, std, scale = (0.485, 0.456, 0.406)[:channels], (0.229, 0.224, 0.225)[:channels], 1 / 255
    got = Preprocess(mean=mean, std=std, scale=scale, mode=mode)(image)
    x = torch.from_numpy(np.array(image)).reshape(9, 7, -1).permute(2, 0, 1)
    centre, size = (torch.tensor(part).view(-1, 1, 1) for part in (mean, std))
    assert torch.equal(got, (x.double().mul(scale).float() - centre) / size)
    assert got.is_contiguous() and got.dtype == torch.float32
