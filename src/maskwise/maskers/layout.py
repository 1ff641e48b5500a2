"""Which decoder a masker has, and how large it is: what a recipe says of it and a masker's file repeats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from maskwise.maskers.attention import AttentionDecoder
from maskwise.maskers.decoder import Decoder, FirstTap
from maskwise.maskers.ladder import Foothold, LadderDecoder
from maskwise.maskers.mixing import ClassPeak, MixingDecoder
from maskwise.maskers.region_decoder import Channel, RegionDecoder

DecoderKind = Literal["added", "mixed", "attention", "ladder"]  # which every recipe may name
AnyDecoder = Decoder | MixingDecoder | AttentionDecoder | RegionDecoder | LadderDecoder


@dataclass(frozen=True)
class Layout:
    """Which decoder, and how large.

    Args:
        decoder: ``added`` is CASM's, ``mixed`` is ``MixingDecoder``, ``attention`` is T-TAME's, ``regions`` is
            ``RegionDecoder``, ``ladder`` is ``LadderDecoder`` with a mixing one of one tap as its head.
        width: channels of a projected tap, or of the ladder.
        first_tap: of CASM's decoder: the finest tap as it is, or projected like the others.
        mix: channels after mixing.
        class_tap: does a mixing decoder read the class activation?
        class_embedding: does a mixing decoder learn what each class adds, where there is no class activation?
        head_std: of the last convolution's first weights.
        regions: how many a region decoder tells apart, 2 or 3.
        channel: which of them its mask shows.
        class_peak: the class activation is stretched to its ``own`` peak, so that each class is as bright as any other;
            or it is a part of the peak of the predicted (``top``) class, so that a class that is not there is faint.
    """

    decoder: DecoderKind | Literal["regions"] = "added"
    width: int = 64
    first_tap: FirstTap = "projected"
    mix: int = 32
    class_tap: bool = False
    class_embedding: bool = False
    head_std: float | None = None
    regions: int = 3
    channel: Channel = "fg"
    class_peak: ClassPeak = "own"

    def __post_init__(self) -> None:
        if self.decoder not in ("added", "mixed", "attention", "regions", "ladder"):
            raise ValueError(f"decoder is added, mixed, attention, regions or ladder, not {self.decoder!r}")
        if self.regions not in (2, 3) or self.channel not in ("fg", "not_bg"):
            raise ValueError(f"regions is 2 or 3 and channel fg or not_bg, not {self.regions!r} and {self.channel!r}")
        if self.class_tap and self.decoder not in ("mixed", "ladder"):
            raise ValueError("class_tap belongs to a mixing decoder: decoder=mixed or ladder, or class_tap=false")
        if self.class_embedding and (self.decoder != "mixed" or self.class_tap):
            raise ValueError("class_embedding belongs to a mixing decoder without class_tap: decoder=mixed")
        if self.class_peak not in ("own", "top"):
            raise ValueError(f"class_peak is own or top, not {self.class_peak!r}")
        if self.first_tap == "raw" and self.decoder != "added":
            raise ValueError("only the decoder that adds its taps up takes one as it is: first_tap=projected")

    @property
    def reads_class(self) -> bool:
        """Does such a decoder draw another mask for another class?"""
        return self.class_tap or self.class_embedding or self.decoder == "attention"

    @classmethod
    def of(cls, recipe: Mapping[str, Any]) -> Layout:
        """What a recipe says, by its default where it says nothing."""
        return cls(**{f.name: recipe[f.name] for f in fields(cls) if f.name in recipe})

    def build(self, channels: Sequence[int], classes: int, footholds: Sequence[Foothold] = ()) -> AnyDecoder:
        """A new decoder for taps of these channels and so many classes; its weights come from the global generator.

        Args:
            footholds: what the taps are, for a ladder.
        """
        if self.decoder == "ladder":
            one = MixingDecoder([self.width], self.width, self.mix, self.class_tap, self.head_std, self.class_peak)
            return LadderDecoder(channels, one, self.width, footholds)
        if self.decoder == "attention":
            return AttentionDecoder(channels, classes)
        if self.decoder == "regions":
            return RegionDecoder(channels, self.regions, self.channel)
        if self.decoder == "mixed":
            embedded = classes if self.class_embedding else None
            return MixingDecoder(
                channels, self.width, self.mix, self.class_tap, self.head_std, self.class_peak, embedded
            )
        return Decoder(channels, self.first_tap, self.width, self.head_std)
