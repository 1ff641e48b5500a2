"""The alternative picture A of Dabkowski & Gal: what stands where the mask hides, drawn anew at each call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from maskwise.blending import masked_in
from maskwise.infill.blur import Blur

GREY = 0.5  # 0 in the released code's domain [-1,1]: what its blur sees outside of the picture
SHADE, GRAIN = 0.165, 0.055  # of the coloured A: half-width of its colour's range, deviation of its noise


@dataclass(frozen=True)
class Alternative:
    """Phi(X, M) = X' M + A (1 - M), X' being the picture with a little noise.

    Per picture A is, half the time, X' blurred, and otherwise one colour with noise on it. The released code's blur
    is off its centre by a pixel (offsets -28 to 26 after Python 2's division); here it is symmetric. Its deviations
    count in [-1,1] and are halved here.

    Attributes:
        blur_size: side of the blur's kernel in pixels, odd.
        blur_sigma: its standard deviation in pixels.
        p_blur: how often A is the blur.
        noise: standard deviation of what is added to X, in units of [0,1].
    """

    blur_size: int = 55
    blur_sigma: float = 11.0
    p_blur: float = 0.5
    noise: float = 0.015

    def __call__(self, images: Tensor, masks: Tensor, draws: Sequence[torch.Generator] | None = None) -> Tensor:
        """What the masks keep, with fresh draws; gradients go through the masks alone.

        Args:
            images: (N,C,H,W) in [0,1].
            masks: (N,H,W) in [0,1].
            draws: one generator a picture; None is torch's own for all.

        Returns:
            (N,C,H,W), which the noise may take a little out of [0,1].
        """
        with torch.no_grad():
            noisy = images + self.noise * _drawn(torch.randn, images, images.shape[1:], draws)
            fill = self.fill(noisy, draws)
        return masked_in(noisy, masks, fill)

    def fill(self, noisy: Tensor, draws: Sequence[torch.Generator] | None = None) -> Tensor:
        """A (N,C,H,W) of noisy pictures."""
        channels = noisy.shape[1]
        everywhere = torch.ones_like(noisy[:, 0])
        blurred = Blur(self.blur_sigma, self.blur_size // 2)(noisy, everywhere, noisy.new_full((channels,), GREY))
        shade = SHADE * (2 * _drawn(torch.rand, noisy, (channels, 1, 1), draws) - 1)
        coloured = GREY + shade + GRAIN * _drawn(torch.randn, noisy, noisy.shape[1:], draws)
        return torch.where(_drawn(torch.rand, noisy, (1, 1, 1), draws) < self.p_blur, blurred, coloured)


def _drawn(
    make: Callable[..., Tensor], images: Tensor, shape: Sequence[int], draws: Sequence[torch.Generator] | None
) -> Tensor:
    """(N, *shape), by torch's own generator or by one a picture."""
    if draws is None:
        return make(len(images), *shape, device=images.device)
    return torch.stack([make(*shape, generator=g, device=g.device) for g in draws]).to(images.device)
