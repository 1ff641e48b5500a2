"""One process without Lightning does what Fabric's single process does, and is Fabric where it is asked for more."""

from __future__ import annotations

import copy

import pytest
import torch
from conftest import tiny_net
from lightning.fabric import Fabric

from maskwise.classifiers import Classifier
from maskwise.training import recipes
from maskwise.training.distributed.alone import alone
from maskwise.training.trainer import Trainer, trainers

CPU = torch.device("cpu")


def trained(fabric: Fabric, recipe: str) -> dict[str, torch.Tensor]:
    """All tensors of a training after two steps."""
    torch.manual_seed(0)
    settings = recipes.load(recipe, ["batch_size=4", "input_size=32"])
    trainer: Trainer = trainers.get(settings.kind)(
        Classifier(tiny_net(), input_size=32, name="tiny"), settings, 2, fabric
    )
    draws = torch.Generator().manual_seed(1)
    for step in range(2):
        trainer.steps = step
        trainer.step(torch.rand(4, 3, 32, 32, generator=draws), torch.tensor([0, 1, 2, 0]))
    return flat(trainer.state_dict())


def flat(state: object, name: str = "") -> dict[str, torch.Tensor]:
    if isinstance(state, torch.Tensor):
        return {name: copy.deepcopy(state)}
    inner = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, (list, tuple)) else ()
    return {key: value for k, v in inner for key, value in flat(v, f"{name}/{k}").items()}


@pytest.mark.parametrize("recipe", ["casm", "casm_baseline", "dabkowski_gal", "infiller"])
def test_a_training_is_the_same_to_the_last_bit(recipe: str) -> None:
    ours, theirs = trained(alone(CPU), recipe), trained(Fabric(accelerator="cpu", devices=1), recipe)
    assert ours.keys() == theirs.keys() and len(ours) > 10
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_trainers_ask_is_what_fabric_says() -> None:
    ours, theirs = alone(CPU), Fabric(accelerator="cpu", devices=1)
    for name in ("device", "global_rank", "world_size"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.strategy.precision.precision == theirs.strategy.precision.precision
    with ours.autocast(), theirs.autocast():
        assert not torch.is_autocast_enabled("cpu")
    ours.barrier()


def test_more_than_that_is_asked_of_fabric() -> None:
    ours = alone(CPU)
    assert ours.all_reduce(torch.tensor(2.0)) == 2 and ours.node_rank == 0
    assert copy.copy(ours).device == CPU
    with pytest.raises(AttributeError, match="nothing"):
        _ = ours.nothing  # type: ignore[attr-defined]
