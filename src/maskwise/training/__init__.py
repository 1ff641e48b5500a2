"""Training: recipes, the generic run, and a trainer for each kind of thing that is trained."""

from maskwise.core.registry import discover
from maskwise.training import recipes
from maskwise.training.callbacks import Callback, TrainingState
from maskwise.training.fitting import fit
from maskwise.training.mask_recipe import Recipe
from maskwise.training.run import train

discover(__name__, __path__)  # importing a file registers the trainer in it

__all__ = ["Callback", "Recipe", "TrainingState", "fit", "recipes", "train"]
