"""Training maskers: recipes, the pool of classifiers, objectives and the loop of CASM's Algorithm 1."""

from maskwise.training import recipe as recipes
from maskwise.training.recipe import Recipe
from maskwise.training.run import train

__all__ = ["Recipe", "recipes", "train"]
