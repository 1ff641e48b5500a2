"""What an audit keeps of each picture, by loops."""

from __future__ import annotations

import pytest
import torch

from maskwise.audit.rows import Elsewhere


def test_the_border_is_a_tenth_of_each_side() -> None:
    """Of 20 x 30 pixels two rows and three columns on each side; a map of zeros has none of itself there."""
    maps = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0))
    maps[2] = 0
    rim = [(y, x) for y in range(20) for x in range(30) if min(y, 19 - y) < 2 or min(x, 29 - x) < 3]
    for row, saliency in zip(Elsewhere().per_image(maps), maps.double(), strict=True):
        inside = sum(float(saliency[y, x]) for y, x in rim)
        whole = float(saliency.sum())
        assert row.tolist() == pytest.approx([inside / whole if whole else 0, len(rim) / 600])
