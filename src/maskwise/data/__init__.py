"""Data sets: pictures with their truth, from folders, archives, official layouts, or drawn on the fly."""

from maskwise.core.registry import discover
from maskwise.data.dataset import DataSet, Record
from maskwise.data.sample import Sample
from maskwise.data.sources import datasets, read_data

discover(__name__, __path__)

__all__ = ["DataSet", "Record", "Sample", "datasets", "read_data"]
