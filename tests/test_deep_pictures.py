"""Pictures of more than 8 bits: what is white in them, and what is said of those that use little of their range."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from test_images import saved

from maskwise.core.alike import count_alike
from maskwise.core.errors import InputError
from maskwise.images import load_image, load_images


@pytest.mark.parametrize(
    ("values", "white"),
    [
        (np.linspace(0, 1, 12, dtype=np.float32), 1),
        (np.linspace(0, 255, 12, dtype=np.float32), 255),
        (np.linspace(0, 256, 12, dtype=np.float32), 255),  # resampling overshoots, and what it does is cut off
        (np.linspace(0, 65535, 12, dtype=np.float32), 65535),
        (np.linspace(0, 255, 12).astype(np.int32), 255),
        (np.linspace(0, 40000, 12).astype(np.int32), 65535),
    ],
)
def test_tiffs_of_32_bits_are_scaled_by_what_they_hold(values: np.ndarray, white: int, tmp_path: Path) -> None:
    image = load_image(saved(values.reshape(3, 4), tmp_path / "a.tif"))
    expected = torch.from_numpy((values.astype(np.float64) / white).clip(0, 1).reshape(3, 4))
    assert torch.allclose(image.double(), expected.expand(3, -1, -1), atol=1e-6)


@pytest.mark.parametrize("values", [[-1.0, 1.0], [0.0, 70000.0], [-1000, 400], [0, 65536]])
def test_values_that_can_mean_anything_are_refused(values: list[float], tmp_path: Path) -> None:
    """Such as Hounsfield units: shown as black they would be explained without a word."""
    array = np.array([values], np.int32 if isinstance(values[0], int) else np.float32)
    with pytest.raises(InputError, match=f"its values go from {values[0]:g} to {values[1]:g}, and .* scale them"):
        load_image(saved(array, tmp_path / "a.tif"))


def test_a_picture_that_uses_little_of_its_range_is_said_once(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    count_alike()
    twelve = np.linspace(0, 4095, 12).astype(np.uint16).reshape(3, 4)
    paths = [saved(twelve, tmp_path / f"{name}.png") for name in "ab"]
    assert load_images(paths).max().item() == pytest.approx(4095 / 65535), "the scale stays the file's own"
    assert len(recwarn) == 1
    assert "a.png: uses only 0 to 4095 of 0 to 65535" in str(recwarn[0].message)
    assert "multiply its values by 16.0037 if 12 bits were meant" in str(recwarn[0].message)
    load_image(saved((twelve * 16).astype(np.uint16), tmp_path / "c.png"))
    load_image(saved(np.zeros((3, 4), np.uint16), tmp_path / "d.png"))
    assert len(recwarn) == 1, "black is black"
    load_image(paths[1])
    assert count_alike() == [
        f"2 pictures use less than a tenth of 0 to 65535 (12 bits), of which {paths[0]} is the first"
    ]
    load_image(paths[1])
    assert len(recwarn) == 2 and count_alike() == [], "the next call says it anew, and one is no number"


@pytest.mark.filterwarnings("ignore:.*nearly black")
@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_say_what_is_white_however_little_of_them_is_used(suffix: str, tmp_path: Path) -> None:
    """Values up to 255 in a file of 16 bits are dark, where 32 bits would have them as bytes."""
    path = tmp_path / f"a.{suffix}"
    if suffix == "pgm":
        path.write_bytes(b"P5 2 1 65535\n" + np.array([[51, 255]], ">u2").tobytes())
    else:
        saved(np.array([[51, 255]], np.uint16), path)
    assert load_image(path)[0, 0].tolist() == pytest.approx([51 / 65535, 255 / 65535])


@pytest.mark.parametrize(("high", "said"), [(6553, True), (6554, False)])
def test_a_tenth_of_the_range_is_enough(high: int, said: bool, tmp_path: Path) -> None:
    count_alike()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        load_image(saved(np.array([[0, high]], np.uint16), tmp_path / "a.png"))
    assert bool(told) == said
