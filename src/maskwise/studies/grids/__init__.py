"""The studies, one file a family; importing this package registers all of them."""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):  # importing a file registers the studies in it
    import_module(f"{__name__}.{_module.name}")
