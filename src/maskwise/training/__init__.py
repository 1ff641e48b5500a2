"""Training: recipes, the generic run, and a trainer for each kind of thing that is trained."""

from importlib import import_module
from pkgutil import iter_modules

from maskwise.training import recipes
from maskwise.training.callbacks import Callback, TrainingState
from maskwise.training.mask_recipe import Recipe
from maskwise.training.run import train

for _module in iter_modules(__path__):  # importing a file registers the trainer in it
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Callback", "Recipe", "TrainingState", "recipes", "train"]
