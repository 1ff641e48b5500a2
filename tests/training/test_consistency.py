"""Consistency over crops: its formula, and what a training makes of it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from training.test_run import SMALL, batch, trainer

from maskwise.training.consistency import enlarged_part, inconsistency
from maskwise.training.crops import Crop, random_crop
from maskwise.training.draws import generator


def test_a_part_of_a_picture() -> None:
    maps = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    crop = Crop(x=6, y=2, width=12, height=8, flip=False)
    expected = F.interpolate(maps[:, :, 2:10, 6:18], (16, 24), mode="bilinear")
    torch.testing.assert_close(enlarged_part(maps, crop), expected)
    turned = Crop(6, 2, 12, 8, True)
    torch.testing.assert_close(enlarged_part(maps, turned), expected.flip(-1))


def test_masks_that_follow_their_picture_are_consistent() -> None:
    masks = torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(1))
    crop = Crop(3, 4, 9, 7, True)
    follows = enlarged_part(masks[:, None], crop)[:, 0]
    assert float(inconsistency(follows, masks, crop)) == 0
    assert float(inconsistency(follows + 0.25, masks, crop)) == pytest.approx(0.25)
    assert float(inconsistency(follows.flip(-1), masks, crop)) > 0.05


@pytest.mark.parametrize("settings", [{}, {"classifier_update": "two_steps"}, {"shared": False}, {"thinning": "F"}])
def test_a_step_s_loss_has_it(settings: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    """What the weight adds is the formula's, of the masks that the step itself makes of whole and part."""
    images, labels = batch()
    losses = []
    for weight in (0.0, 3.0):
        t = trainer(SMALL.model_copy(update={"consistency": weight, "consistency_area": (0.4, 0.6), **settings}))
        made, real = [], t._mask
        monkeypatch.setattr(t, "_mask", lambda *given, made=made, real=real: made.append(real(*given)) or made[-1])
        losses.append(t.step(images, labels)["loss"])
        assert len(made) == 1 + (weight > 0)
    crop = random_crop(images.shape[-2], images.shape[-1], (0.4, 0.6), generator(SMALL.seed, 7, 0))
    expected = (made[1][0] - enlarged_part(made[0][0][:, None], crop)[:, 0]).abs().mean()
    assert float(expected) > 0.005
    assert losses[1] - losses[0] == pytest.approx(3 * float(expected), rel=1e-3)


def test_it_is_learned() -> None:
    """On its own it makes masks that follow their pictures."""
    found = []
    for weight in (0.0, 30.0):
        t = trainer(SMALL.model_copy(update={"thinning": "F", "consistency": weight}))
        images, labels = batch()
        for _ in range(25):
            t.step(images, labels)
        crop = Crop(4, 4, images.shape[-1] // 2, images.shape[-2] // 2, False)
        with torch.no_grad():
            whole = t.masker.eval()(images)[1]
            part = t.masker(enlarged_part(images, crop))[1]
        found.append(float(inconsistency(part, whole, crop)))
    assert found[1] < 0.7 * found[0]
