"""The picture of insertion and deletion curves."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maskwise.core.errors import InputError
from maskwise.report.curves import curve_figure, insertion_deletion_figure


def test_curves_are_drawn(tmp_path: Path) -> None:
    rising = torch.linspace(0, 1, 29).repeat(5, 1) ** torch.linspace(0.5, 2, 5)[:, None]
    curve_figure({"grad_cam": rising, "a $name with_marks$": rising[:1]}, tmp_path / "one.png")
    insertion_deletion_figure({"a": rising}, {"a": rising.flip(1)}, tmp_path / "two.png")
    one, two = (np.asarray(Image.open(tmp_path / name).convert("L")) for name in ("one.png", "two.png"))
    assert two.shape[1] > 1.9 * one.shape[1] and two.shape[0] == one.shape[0]
    assert (one < 200).mean() > 0.01, "something is drawn"
    curve_figure({"grad_cam": rising[:, [0, 14, 28]]}, tmp_path / "other.png", mode="deletion")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png", "other.png", "two.png"]


@pytest.mark.parametrize("curves", [{}, {"a": torch.rand(0, 5)}, {"a": torch.rand(3, 1)}, {"a": torch.rand(5)}])
def test_nothing_to_draw_is_refused(curves: dict[str, torch.Tensor], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="insertion: there must be curves"):
        curve_figure(curves, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
