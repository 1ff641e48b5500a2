"""The recipe of a class-agnostic masker: CASM, Phang et al.'s FIX and CA, and what lies between them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from maskwise.maskers.gumbel import GumbelMode
from maskwise.maskers.layout import DecoderKind, Layout
from maskwise.maskers.mixing import ClassPeak
from maskwise.training.base_recipe import BaseRecipe
from maskwise.training.objectives import Term, objectives
from maskwise.training.objectives.base import When

Thinning = Literal["F", "L", "FL", "L100", "L1000"]


class Recipe(BaseRecipe):
    """All settings of one training. Where paper and released code differ, the paper's reading is the default.

    Sources: CASM = Zolna, Geras, Cho 2020; [C] its released code; [P] Phang, Park, Geras 2021.
    """

    title: str = "CASM"
    paper: str = "Zolna, Geras, Cho 2020"
    epochs: int = Field(70, ge=1, description="passes over `fraction` of the pictures; 70 in the paper, 60 in [C]")
    fraction: float = Field(0.2, gt=0, le=1, description="part of the pictures that one epoch sees")
    batch_size: int = Field(128, ge=2)

    # the masker
    taps: tuple[int, ...] | None = Field(
        None, description="which taps are read, 0 the finest, -1 the last; None is all of them"
    )
    first_tap: Literal["projected", "raw"] = "projected"
    width: int = Field(64, ge=1, description="channels of a projected tap")
    head_std: float | None = Field(
        None, ge=0, description="of the last convolution's first weights; None is the paper's 0.47, saturated noise"
    )
    decoder: DecoderKind = Field(
        "added",
        description="added: taps are only added up; mixed: mixed before they draw; attention: T-TAME's, by class; "
        "ladder: one after another",
    )
    mix: int = Field(32, ge=1, description="channels that a mixing decoder mixes all taps to")
    class_tap: bool = Field(False, description="a mixing decoder reads the asked class's activation as one more tap")
    class_peak: ClassPeak = Field(
        "own", description="the class tap is stretched to its own peak, or a part of the predicted class's"
    )
    start: str | None = Field(
        None, description="a masker's file: the training begins with its decoder and, where it learns too, its encoder"
    )
    shared: bool = Field(
        True, description="encoder = the live classifier; otherwise a second one, trained with the mask"
    )
    gumbel: GumbelMode = Field("none", description="binary concrete masks [P]: soft, or hard and straight-through")
    temperature: float = Field(0.1, gt=0, description="of the binary concrete distribution")
    superpixels: int | None = Field(None, ge=2, description="average the mask over about so many superpixels (Fan)")
    class_gate: float | None = Field(
        None, gt=0, le=1, description="the trained mask is gated by class, fully open from this part of the peak on"
    )
    gate_scales: tuple[Annotated[float, Field(ge=1, le=4)], ...] = Field(
        (1.0,), min_length=1, description="how much the picture is enlarged for the gate; all but 1 cost a forward"
    )
    sharpness: float | None = Field(None, gt=0, description="the trained mask is sharpened about its own mean")
    pamr: int = Field(
        0, ge=0, le=100, description="rounds in which the trained mask runs along to pixels of the same colour"
    )
    masker_lr: float = Field(1e-3, gt=0, description="Adam")

    # the classifier and its pool
    thinning: Thinning = Field("L100", description="which snapshots of the classifier enter the pool; F: it is fixed")
    pool_size: int = Field(30, ge=1)
    p_history: float = Field(0.5, ge=0, le=1, description="chance of an older classifier instead of the newest")
    pool_use: Literal["judge", "skip"] = Field(
        "judge", description="an older one judges; or its draw only skips the classifier's masked update ([P]'s code)"
    )
    judges: tuple[str, ...] = Field(
        (), description="classifiers of other architectures that judge masks, too, each as often as the pool"
    )
    classifier_lr: float = Field(1e-3, gt=0, description="SGD")
    momentum: float = Field(0.9, ge=0, lt=1)
    classifier_update: Literal["averaged", "two_steps"] = "averaged"
    classifier_sees: Literal["clean_and_masked", "masked"] = "clean_and_masked"
    batch_norm: Literal["train", "frozen"] = Field("train", description="of the live classifier")

    # the objective
    objectives: dict[str, Term] = Field({"max_entropy": Term()}, description="by name, each with its own settings")
    regularise_when: When = Field(
        "fooled",
        description="a masked-out objective lets masks shrink where the picture is right clean and wrong masked-out "
        "(fooled, CASM), wrong masked-out ([P]), or where predictions differ (changed, in no paper)",
    )
    lambda_inside_weights: bool = Field(
        False,
        description="are lambda_r and tv inside an objective's weight, as in [P]'s code, or beside it (its text)?",
    )
    tv_form: Literal["paper", "released", "l1"] = Field("paper", description="see core/total_variation.py")
    tv_edges: float | None = Field(
        None, gt=0, description="an edge of the mask counts 1/e where colours differ by this; None looks at no picture"
    )
    consistency: float = Field(0.0, ge=0, description="of |m(crop x) - crop m(x)|, one crop a step; a forward more")
    consistency_area: tuple[float, float] = Field((0.3, 1.0), description="of that crop, part of the picture's area")
    explains: Literal["label", "prediction"] = Field(
        "label", description="what masks are to show: labels, or what a fixed classifier itself finds in the crop"
    )
    negatives: int = Field(0, ge=0, description="classes not shown, whose masks are made, too, for objectives on them")
    negatives_of: Literal["all", "pictures"] = Field(
        "all", description="drawn from all classes alike, or as often as other pictures show them"
    )
    most_findings: int = Field(8, ge=1, description="of a picture with more findings, so many masks are made")
    infill: str | dict[str, Any] = Field("mean", description="what fills the hole: a name, or a mapping with `name`")
    target_area: float | None = Field(
        None, gt=0, lt=1, description="steer all lambda_r to this mean mask; off in the papers"
    )
    area_gain: float = Field(0.01, gt=0, description="how fast lambda_r follows the mask's area")
    area_lookahead: float = Field(
        0.0, ge=0, description="steps by which steering takes the mask's area to go on growing or shrinking"
    )

    @field_validator("objectives")
    @classmethod
    def _known(cls, terms: dict[str, Term]) -> dict[str, Term]:
        unknown = [name for name in terms if name not in objectives]
        if unknown or not terms:
            raise ValueError(f"name some of {', '.join(objectives.names())}, not {', '.join(unknown) or 'nothing'}")
        return terms

    @model_validator(mode="after")
    def _possible(self) -> Recipe:
        reads_class = Layout.of(dict(self)).reads_class
        if self.explains == "prediction" and self.thinning != "F":
            raise ValueError("a classifier that learns with the mask needs labels: explains=label")
        if self.judges and self.pool_use == "skip":
            raise ValueError("with pool_use=skip no other network judges: pool_use=judge, or leave judges out")
        if self.negatives and not reads_class:
            raise ValueError(
                "negatives are for a masker that reads a class: class_tap=true, decoder=attention, or negatives=0"
            )
        if "non_target" in self.objectives and not self.negatives:
            raise ValueError("non_target looks at masks of classes that are not there: negatives=4, say")
        if all(objectives.get(name).side is None for name in self.objectives):
            raise ValueError("one objective at least must look at masked pictures, such as max_class")
        if self.classifier_sees == "masked" and self.shared and self.thinning != "F":
            raise ValueError(
                "a classifier trained on masked pictures alone can't be the masker's encoder: shared=false"
            )
        return self
