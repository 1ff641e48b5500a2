"""Trainings that cells share: what two cells of any studies train alike is trained once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from maskwise.core.lock import locked
from maskwise.evaluation.store import key_of
from maskwise.training import train
from maskwise.training.base_recipe import BaseRecipe
from maskwise.training.trainer import trainers

if TYPE_CHECKING:
    from maskwise.classifiers import Classifier
    from maskwise.studies.room import Room

NAMELESS = {"title": "", "paper": "", "row": None}  # of which table a recipe is a row decides nothing


def shared_training(recipe: BaseRecipe, room: Room, classifier: Classifier | None = None) -> Path:
    """The file that ``recipe`` trains with the room's network and pictures; below ``room.trainings``.

    Who comes while another process trains the same waits for it. A killed training is gone on with.

    Args:
        classifier: in place of the room's network, one that was trained from it.

    Returns:
        The trained file; ``recipe.yaml`` and the log lie beside it.

    Raises:
        InputError: as of ``train``.
    """
    recipe, classifier = recipe.model_copy(update=NAMELESS), classifier or room.classifier("main")
    key = key_of(
        {
            "recipe": recipe.model_dump(mode="json"), "fingerprint": classifier.fingerprint(),
            "train": room.identity(room.train), "precision": room.precision,
        }
    )  # fmt: skip
    out = room.trainings / key / "training"
    with locked(out.parent, "training of this study", wait=True):
        trained = out / trainers.get(recipe.kind).output
        if trained.is_file():  # it is written last
            return trained
        return train(
            recipe, room.sets(room.train), classifier=classifier, out=out, resume=True, device=room.device,
            precision=room.precision, page=False,
        )  # fmt: skip
