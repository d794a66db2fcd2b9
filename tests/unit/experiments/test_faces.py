"""Pictures of people stay out of the repository, and a curve is the mean over its seeds."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[3] / "experiments"))
import collapse
import gradcam_faces


@pytest.mark.parametrize("inside", ["results/faces", "docs", "build/../results", "."])
def test_pictures_of_people_are_refused_inside_the_repository(inside):
    with pytest.raises(SystemExit, match="lies in the repository"):
        gradcam_faces.local(gradcam_faces.ROOT / inside)


def test_a_link_out_of_build_is_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(gradcam_faces, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "build").mkdir()
    (tmp_path / "build/link").symlink_to(tmp_path / "docs")
    with pytest.raises(SystemExit):
        gradcam_faces.local(tmp_path / "build/link")
    assert gradcam_faces.local(tmp_path / "build/faces").is_dir()


def test_pictures_may_lie_outside_the_repository(tmp_path):
    assert gradcam_faces.local(tmp_path / "faces").is_dir()


def test_a_point_is_the_mean_over_the_seeds_of_its_strength():
    points = [
        {"seed": seed, "method": "m", "settings": {"lr": lr}, "attack": a, "test_accuracy": t}
        for seed, lr, a, t in ((0, 1, 0.6, 0.8), (0, 2, 0.5, 0.5), (1, 1, 0.4, 0.6))
    ]
    one, two = collapse.averaged(points)
    assert one["seeds"] == 2 and one["accuracy"] == pytest.approx(70)
    assert one["score"] == pytest.approx(0.2), "0.6 and 0.4 tell as much: no cancelling"
    assert one["accuracy_deviation"] == pytest.approx(200**0.5)
    assert two["seeds"] == 1 and two["accuracy_deviation"] == 0
