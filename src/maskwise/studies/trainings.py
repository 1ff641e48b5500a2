"""Trainings that cells share: what two cells of any studies train alike is trained once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from maskwise.core.lock import locked
from maskwise.evaluation.store import key_of
from maskwise.studies.run_config import RunConfig
from maskwise.training import train
from maskwise.training.base_recipe import BaseRecipe
from maskwise.training.trainer import trainers

if TYPE_CHECKING:
    from maskwise.classifiers import Classifier

NAMELESS = {"title": "", "paper": "", "row": None}  # of which table a recipe is a row decides nothing


def shared_training(recipe: BaseRecipe, config: RunConfig, classifier: Classifier | None = None) -> Path:
    """The file that ``recipe`` trains with the config's network and pictures; below ``config.trainings``.

    A process that asks for a training which another one is running waits for it. A killed training is resumed.

    Args:
        classifier: in place of the run's network, one that was trained from it.

    Returns:
        The trained file; ``recipe.yaml`` and the log lie beside it.

    Raises:
        InputError: as of ``train``.
    """
    recipe, classifier = recipe.model_copy(update=NAMELESS), classifier or config.classifier("main")
    key = key_of(
        {
            "recipe": recipe.model_dump(mode="json"), "fingerprint": classifier.digest(),
            "train": config.identity(config.train), "precision": config.precision,
        }
    )  # fmt: skip
    out = config.trainings / key / "training"
    with locked(out.parent, "training of this study", wait=True):
        trained = out / trainers.get(recipe.kind).output
        if trained.is_file():  # it is written last
            return trained
        return train(
            recipe, config.sets(config.train), classifier=classifier, out=out, resume=True, device=config.device,
            precision=config.precision, page=False,
        )  # fmt: skip
