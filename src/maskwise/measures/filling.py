"""What stands where pixels were taken away: any infiller, once for the whole picture or anew at every step."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from maskwise.core.code_digest import code_of_own
from maskwise.core.errors import InputError
from maskwise.core.options import one_of
from maskwise.infill import Infiller, infiller, infillers

Refill = Literal["step", "once"]
Filled = Callable[[Tensor, Tensor], Tensor]  # pictures (n,) of a set, a hole (n,H,W) bool in each -> copies (n,C,H,W)


@dataclass(frozen=True)
class HoleFill:
    """An infiller and how it is used; see ``fill_of``."""

    infiller: Infiller
    refill: Refill = "step"
    draws: int = 1

    def each_draw(self, images: Tensor, colour: Tensor) -> Iterator[Filled]:
        """How copies of images (N,C,H,W) are filled, once a draw."""
        for draw in range(self.draws):
            paint = self.infiller.drawn(draw)
            if self.refill == "once":
                yield from_substrate(images, paint(images, images.new_ones(len(images), *images.shape[-2:]), colour))
            else:
                yield partial(_refilled, images, colour, paint)

    def text(self) -> str:
        """Its name and all its options, weights by their checksum: what a number's protocol says of it."""
        options = {f.name: getattr(self.infiller, f.name) for f in dataclasses.fields(self.infiller)}  # type: ignore[arg-type]
        network = getattr(self.infiller, "network", None)
        if isinstance(network, nn.Module):
            options["weights"] = f"{_checksum(network):08x}"
        if (code := code_of_own(type(self.infiller))) is not None:
            options["code"] = code
        said = ",".join(f"{key}={value}" for key, value in options.items() if key != "generator")
        return f"{_registered(self.infiller)}:{said}".rstrip(":")


def from_substrate(images: Tensor, substrate: Tensor) -> Filled:
    """Fills each hole with what stands there in ``substrate``, as large as the images (N,C,H,W)."""
    return lambda rows, holes: torch.where(holes[:, None], substrate[rows], images[rows])


def _refilled(images: Tensor, colour: Tensor, paint: Infiller, rows: Tensor, holes: Tensor) -> Tensor:
    return torch.where(holes[:, None], paint(images[rows], holes, colour), images[rows])


def scores_without(
    fills: Iterable[Filled],
    holes: Callable[[Tensor, Tensor], Tensor],
    pictures: int,
    count: int,
    score: Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor],
) -> Tensor:
    """Scores (pictures,count) of each picture without each of ``count`` holes, means over fills.

    Args:
        fills: one a draw.
        holes: from pictures (n,) and which of its holes is meant (n,) to the holes (n,H,W) bool.
        pictures: how many.
        count: holes of each.
        score: (the picture of each copy, how copies are made) to one score a copy, as ``log_probabilities`` does.
    """
    each = list(fills)

    def copies(numbers: Tensor) -> Tensor:
        # The draws of a hole stand side by side, so that what an infiller keeps of a hole serves all of them.
        hole, draw = numbers // len(each), numbers % len(each)
        rows, which = hole // count, hole % count
        parts = [(own, each[d]) for d in range(len(each)) if len(own := (draw == d).nonzero()[:, 0])]
        made = torch.cat([filled(rows[own], holes(rows[own], which[own])) for own, filled in parts])
        return made[torch.cat([own for own, _ in parts]).argsort()]

    of = torch.arange(pictures).repeat_interleave(count * len(each))
    return score(of, copies).reshape(pictures, count, len(each)).mean(-1)


def fill_of(fill: str | Infiller, refill: Refill = "step", draws: int = 1) -> HoleFill:
    """An infiller for metrics.

    Args:
        fill: name with options, as ``noisy_linear:noise=0.02``, or an infiller.
        refill: ``step`` fills the hole of every step from what is left around it; ``once`` takes one picture for all
            steps, what the infiller makes of a picture that is all hole.
        draws: scores are means over so many fills by different random numbers.

    Raises:
        InputError: an unknown infiller or option; ``once`` of an infiller that paints from the surroundings, of which
            a picture that is all hole has none; several draws of one that draws nothing.
    """
    one_of("refill", refill, ("step", "once"))
    made = fill if isinstance(fill, Infiller) else infiller(fill)
    name = _registered(made)
    if refill == "once" and name in infillers and infillers.facts(name)["surroundings"]:
        raise InputError(f"refill='once' has no surroundings that {name} could paint from; take refill='step'")
    if draws < 1:
        raise InputError(f"draws must be at least 1, not {draws}")
    if draws > 1 and made.drawn(0) == made.drawn(1):
        raise InputError(f"{name} paints the same in each of {draws} draws; leave draws at 1")
    return HoleFill(made, refill, draws)


def filed_fill(fill: str) -> str:
    """What numbers by an infiller are filed under: its name as given, or all that is known of one with weights or code.

    A file of weights may be another one tomorrow.

    Raises:
        InputError: an unknown infiller or option.
    """
    made = infiller(fill)
    own = isinstance(getattr(made, "network", None), nn.Module) or code_of_own(type(made)) is not None
    return HoleFill(made).text() if own else fill


def _checksum(network: nn.Module) -> int:
    code = 0
    for key, value in sorted(network.state_dict().items()):
        code = zlib.crc32(value.detach().cpu().contiguous().numpy().tobytes(), zlib.crc32(key.encode(), code))
    return code


def _registered(made: Infiller) -> str:
    """Its name, else that of its class."""
    return infillers.name_of(type(made)) or type(made).__name__
