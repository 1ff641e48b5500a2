"""A masker that is trained by a recipe and measured; or one that comes with the package, where that is the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from maskwise.explainers.masker import packaged_masker
from maskwise.studies.jobs.base import ExplainerJob, JobCost, Numbers
from maskwise.studies.measure import measured_numbers
from maskwise.studies.protocol import EvaluationProtocol
from maskwise.studies.run_config import RunConfig
from maskwise.studies.scale import Scale
from maskwise.training import recipes
from maskwise.training.base_recipe import BaseRecipe

if TYPE_CHECKING:
    from maskwise.explainers import Explainer

READS = {"class_mask": "dabkowski_gal", "shapley": "fast_shap"}  # which explainer takes what a kind trains
STAND_IN = "partial_conv"  # in place of infillers that need published weights


@dataclass(frozen=True)
class Train(ExplainerJob):
    """Trains by a recipe, then measures the masker.

    Attributes:
        recipe: a packaged one.
        overrides: ``key=value`` settings of this cell, which the scale's come before.
        packaged: name of the packaged masker that was trained by the small scale's settings.
        small: the recipe that stands for it at the small scale and those like it.
        seed: of all draws.
    """

    recipe: str
    overrides: tuple[str, ...] = ()
    packaged: str | None = None
    small: str | None = None
    seed: int = 0

    trains: ClassVar[bool] = True

    def with_seed(self, seed: int) -> Train:
        return replace(self, seed=seed)

    def packaged_maskers(self, scale: Scale) -> tuple[str | None, ...]:
        return (self.packaged if self.ready(scale) else None,)

    def settings(self, scale: Scale, more: tuple[str, ...] = ()) -> BaseRecipe:
        """The recipe as this scale runs it."""
        ready = scale.like == "small" and self.small is not None
        name = str(self.small) if ready else self.recipe
        plain = loaded(name)
        own = () if ready else adapted(plain, scale)
        infill = (f"infill={STAND_IN}",) if not scale.full and needs_weights(plain) else ()
        made = loaded(name, (*own, *infill, *self.overrides, f"seed={self.seed}", *more))
        return made.model_copy(update={"classifier": scale.classifiers["main"]})  # on which it is trained here

    def ready(self, scale: Scale) -> Path | None:
        """The packaged masker's file, where this scale takes it."""
        if not scale.packaged or self.packaged is None:
            return None
        path = packaged_masker(self.packaged)
        return path if path.is_file() else None

    def facts(self, config: RunConfig) -> dict[str, Any]:
        path = self.ready(config.scale)
        network = config.scale.classifiers["main"]
        if path is not None:
            return {"packaged": self.packaged, "sha256": config.digest(path), "network": network}
        return {"recipe": self.settings(config.scale, config.overrides).model_dump(mode="json"), "network": network,
                "train": config.identity(config.train)}  # fmt: skip

    def cost(self, scale: Scale) -> JobCost:
        recipe = self.settings(scale)
        batches = max(int(scale.pictures * recipe.fraction) // recipe.batch_size, 1)
        steps = 0 if self.ready(scale) else recipe.total_steps(batches)
        return JobCost(steps, scale.limit or 50_000)

    def weights(self, config: RunConfig) -> Path:
        """The masker's file, trained where it is neither packaged nor there from another cell."""
        from maskwise.studies.trainings import shared_training

        ready = self.ready(config.scale)
        return ready or shared_training(self.settings(config.scale, config.overrides), config)

    def explainer(self, config: RunConfig) -> Explainer:
        from maskwise.explainers import explainer

        method = READS.get(self.settings(config.scale).kind, "casm")
        return explainer(method, config.classifier("main"), masker=self.weights(config))

    def run(self, config: RunConfig, protocol: EvaluationProtocol, row: str, folder: Path) -> Numbers:
        return {row: measured_numbers(self.explainer(config), config, protocol, "main", folder)}


@lru_cache(maxsize=256)
def loaded(name: str, overrides: tuple[str, ...] = ()) -> BaseRecipe:
    """The recipe; a listing of all studies asks for each of them several times."""
    found: BaseRecipe = recipes.load(name, overrides)
    return found


def adapted(recipe: BaseRecipe, scale: Scale) -> tuple[str, ...]:
    """The scale's overrides of a recipe of this kind."""
    if recipe.kind == "class_mask":
        return scale.class_masks
    kinds = {name: (name, term.tv > 0) for name, term in getattr(recipe, "objectives", {}).items()}
    if any(kind not in scale.lambda_r for kind in kinds.values()):
        return scale.masks
    return (*scale.masks, *(f"objectives.{name}.lambda_r={scale.lambda_r[kind]}" for name, kind in kinds.items()))


def needs_weights(recipe: BaseRecipe) -> bool:
    """Does its infiller need a file of published weights, and is none named?"""
    from maskwise.infill import infillers

    infill = getattr(recipe, "infill", None)
    return (
        isinstance(infill, dict) and "weights" not in infill and bool(infillers.facts(infill["name"])["needs_weights"])
    )
