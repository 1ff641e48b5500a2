"""Data sets: labelled pictures with boxes."""

from maskwise.data.pictures import Pictures, Sample, read_pictures

__all__ = ["Pictures", "Sample", "read_pictures"]
