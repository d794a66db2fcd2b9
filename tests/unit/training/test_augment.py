"""Random flips and crops of minibatches."""

import pytest
import torch

from unspan.errors import UsageError
from unspan.training.augment import augmented
from unspan.training.settings import Training


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def test_half_of_the_images_are_flipped_and_nothing_else_changes():
    x = torch.arange(400 * 3 * 4 * 4).float().view(400, 3, 4, 4)
    found = augmented(x, "flip", stream())
    mirrored = (found == x.flip(3)).flatten(1).all(1)
    same = (found == x).flatten(1).all(1)
    assert bool((mirrored ^ same).all()) and 160 < int(mirrored.sum()) < 240


def test_a_crop_is_a_window_of_the_padded_image_and_every_window_occurs():
    x = torch.rand(2000, 1, 8, 8, generator=stream(1)) + 1
    found = augmented(x, "crop-flip", stream())
    assert found.shape == x.shape
    padded = torch.nn.functional.pad(x, (1,) * 4)  # 4 of 32 pixels
    hits = {}
    for top in range(3):
        for left in range(3):
            for flip in (False, True):
                window = torch.nn.functional.pad(x.flip(3), (1,) * 4) if flip else padded
                hits[top, left, flip] = int(
                    (found == window[:, :, top : top + 8, left : left + 8]).flatten(1).all(1).sum()
                )
    assert sum(hits.values()) == 2000 and min(hits.values()) > 70


def test_draws_come_from_the_stream_alone():
    x = torch.rand(50, 3, 8, 8)
    torch.manual_seed(1)
    first = augmented(x, "crop-flip", stream(3))
    torch.manual_seed(2)
    assert torch.equal(first, augmented(x, "crop-flip", stream(3)))
    assert not torch.equal(first, augmented(x, "crop-flip", stream(4)))
    assert augmented(x, "none", stream()) is x


def test_what_is_no_image_is_refused():
    with pytest.raises(UsageError, match="batches of images"):
        augmented(torch.rand(4, 10), "flip", stream())
    with pytest.raises(UsageError, match="augment='rotate'"):
        Training(lr=0.1, epochs=1, augment="rotate")
