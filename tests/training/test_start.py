"""``start``: a training begins where another one has ended, with its decoder and its adapted classifier."""

from pathlib import Path

import pytest
import torch
from training.test_run import SMALL, batch, trainer

from maskwise.core.errors import InputError
from maskwise.maskers.store import load_agnostic_masker
from maskwise.training.mask import MaskTrainer

ADAPTS = SMALL.model_copy(update={"classifier_lr": 0.05})


def trained(path: Path, **settings: object) -> MaskTrainer:
    made = trainer(ADAPTS.model_copy(update=settings))
    for k in range(6):
        made.step(*batch(k))
    made.save(path)
    return made


def test_both_networks_go_on(tmp_path: Path) -> None:
    first = trained(tmp_path / "first.safetensors")
    again = trainer(ADAPTS.model_copy(update={"start": str(tmp_path / "first.safetensors"), "seed": 4}))
    fresh = trainer(ADAPTS).live.module.state_dict()
    for name, value in first.live.module.state_dict().items():
        torch.testing.assert_close(again.live.module.state_dict()[name], value)
    assert any(not torch.equal(fresh[name], value) for name, value in first.live.module.state_dict().items())
    images = torch.rand(2, 3, 32, 32)
    loaded = load_agnostic_masker(tmp_path / "first.safetensors", again.classifier)
    torch.testing.assert_close(again.masker.eval()(images)[1], loaded(images)[1])


def test_a_judge_that_stays_fixed_is_the_classifier_itself(tmp_path: Path) -> None:
    trained(tmp_path / "first.safetensors")
    fixed = trainer(ADAPTS.model_copy(update={"start": str(tmp_path / "first.safetensors"), "thinning": "F"}))
    clean = trainer(ADAPTS.model_copy(update={"thinning": "F"}))
    for name, value in clean.live.module.state_dict().items():
        assert torch.equal(fixed.live.module.state_dict()[name], value)


def test_an_encoder_for_masks_alone_becomes_no_judge(tmp_path: Path) -> None:
    trained(tmp_path / "first.safetensors", shared=False)
    with pytest.raises(InputError, match="give shared as its own recipe has it"):
        trainer(ADAPTS.model_copy(update={"start": str(tmp_path / "first.safetensors")}))
    trainer(ADAPTS.model_copy(update={"start": str(tmp_path / "first.safetensors"), "shared": False}))
