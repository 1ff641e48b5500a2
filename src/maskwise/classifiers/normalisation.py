"""How pictures in [0,1] are normalised before a network sees them: a mean and a deviation for each channel."""

from __future__ import annotations

from torch import Tensor

from maskwise.core.errors import InputError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def check_normalisation(mean: Tensor, std: Tensor, name: str) -> None:
    """Of a classifier called ``name``.

    Raises:
        InputError: not one value of each a channel, or values in other units than [0,1].
    """
    if mean.ndim != 1 or not len(mean) or mean.shape != std.shape:
        raise InputError(
            f"{name}: `mean` and `std` have one value a channel, not {tuple(mean.shape)} and {tuple(std.shape)}"
        )
    if not (mean.isfinite().all() and std.isfinite().all() and (std > 0).all()):
        raise InputError(f"{name}: `mean` must be finite and `std` above 0, not {mean.tolist()} and {std.tolist()}")
    if mean.abs().max() > 3 or std.max() > 3:
        raise InputError(
            f"{name}: mean {mean.tolist()} and std {std.tolist()} are in units of [0,255]: divide them by 255"
        )
