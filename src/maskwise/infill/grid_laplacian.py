"""The linear system behind a noisy linear fill, on a grid of pixels with eight neighbours each (Rong et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import SuperLU, splu

STRAIGHT, DIAGONAL = 1 / 6, 1 / 12
SMALL = 16  # pixels of a part that is not divided further; fewer make the order longer to find and no better
KEPT = 16  # factorisations: as many as ROAD has holes in a picture; those of smooth holes take a few MB each


@dataclass(frozen=True)
class HoleSystem:
    """The equations of a hole, factorised: which numbers belong there, given those around it.

    Each missing pixel i obeys sum over its neighbours j of w_ij (x_i - x_j) = 0, w = 1/6 straight and 1/12 diagonal;
    neighbours beyond the border are left out. The matrix is symmetric, and positive definite where a pixel is known.

    Attributes:
        hole: flat indices of the missing pixels.
        border: (missing, all pixels) weights of the known ones.
        factors: of the matrix of the missing ones.
    """

    hole: np.ndarray
    border: sparse.csr_matrix
    factors: SuperLU

    def solve(self, known: np.ndarray) -> np.ndarray:
        """Values (missing,C), float64, from pixels (all,C), of which only the known ones are looked at."""
        found: np.ndarray = self.factors.solve(self.border @ known)
        return found


def hole_system(hole: np.ndarray) -> HoleSystem:
    """The system of a hole (H,W) bool, which must neither be empty nor everything; the last few are kept."""
    height, width = hole.shape
    return _factorised(np.packbits(hole).tobytes(), height, width)


@lru_cache(maxsize=KEPT)
def _factorised(packed: bytes, height: int, width: int) -> HoleSystem:
    hole = np.unpackbits(np.frombuffer(packed, np.uint8), count=height * width).astype(bool)
    order = _dissection(height, width)
    missing = order[hole[order]]
    rows = _laplacian(height, width)[missing]
    border = -rows.multiply(~hole).tocsr()
    # Symmetric and positive definite: no pivoting is needed, and the order is the best known for a grid.
    factors = splu(
        rows[:, missing].tocsc(), permc_spec="NATURAL", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
    )
    return HoleSystem(missing, border, factors)


@lru_cache(maxsize=4)
def _laplacian(height: int, width: int) -> sparse.csr_matrix:
    """(H W, H W): sum of the weights of a pixel's neighbours on the diagonal, their negatives beside it."""
    index = np.arange(height * width).reshape(height, width)
    first, second, weights = [], [], []
    for down, right, weight in ((0, 1, STRAIGHT), (1, 0, STRAIGHT), (1, 1, DIAGONAL), (1, -1, DIAGONAL)):
        here = index[: height - down, max(0, -right) : width - max(0, right)].ravel()
        there = index[down:, max(0, right) : width + min(0, right)].ravel()
        first += [here, there]
        second += [there, here]
        weights.append(np.full(2 * len(here), weight))
    pairs = np.concatenate(first), np.concatenate(second)
    around = sparse.csr_matrix((np.concatenate(weights), pairs), (height * width, height * width))
    return sparse.csr_matrix(sparse.diags(np.asarray(around.sum(1)).ravel()) - around)


@lru_cache(maxsize=4)
def _dissection(height: int, width: int) -> np.ndarray:
    """Flat indices in the order of nested dissection (George 1973): two halves first, then the line between them."""
    parts: list[np.ndarray] = []

    def divide(index: np.ndarray) -> None:
        if index.size <= SMALL:
            parts.append(index.ravel())
            return
        if index.shape[0] < index.shape[1]:
            index = index.T
        middle = index.shape[0] // 2
        divide(index[:middle])
        divide(index[middle + 1 :])
        parts.append(index[middle])

    divide(np.arange(height * width).reshape(height, width))
    return np.concatenate(parts)
