"""Data sets: pictures with their truth, from folders, archives, official layouts, or drawn on the fly."""

from importlib import import_module
from pkgutil import iter_modules

from maskwise.data.dataset import DataSet, Record
from maskwise.data.sample import Sample
from maskwise.data.sources import datasets, read_data

for _module in iter_modules(__path__):  # importing a file registers the data sets in it
    import_module(f"{__name__}.{_module.name}")

__all__ = ["DataSet", "Record", "Sample", "datasets", "read_data"]
