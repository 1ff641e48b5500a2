"""Maps kept on disk, so that they can be scored again without being made again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.core.files import atomic_write
from maskwise.evaluation.map_files import read_map_file
from maskwise.evaluation.store import key_of


class MapFolder:
    """One compressed ``.npz`` a picture and run, float32 as it was made.

    Args:
        folder: None keeps and finds nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def read(self, run: str, picture: str) -> Tensor | None:
        """The map (H,W), or None where there is none that can be read: it is made again then."""
        if self.folder is None or not self._path(run, picture).is_file():
            return None
        try:
            return read_map_file(self._path(run, picture)).values
        except InputError:
            return None

    def write(self, run: str, picture: str, saliency: Tensor) -> None:
        if self.folder is None:
            return
        with atomic_write(self._path(run, picture)) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, map=saliency.numpy(), picture=np.array(picture))

    def _path(self, run: str, picture: str) -> Path:
        assert self.folder is not None
        return self.folder / run / f"{key_of({'picture': picture})}.npz"
