"""The studies, one file a family; importing this package registers all of them."""

from maskwise.core.registry import discover

discover(__name__, __path__)  # importing a file registers the studies in it
