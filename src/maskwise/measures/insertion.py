"""Insertion, deletion and their difference (Petsiuk et al. 2018; SESS, Table 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from maskwise.box import as_tensor
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.options import one_of
from maskwise.infill import Infiller
from maskwise.measures.base import Metric, metrics
from maskwise.measures.filling import Refill, fill_of
from maskwise.measures.perturbation import STEP, CurveKind, Step, Substrate, Ties, area_under, curves, pixels_of
from maskwise.measures.scoring import ClassifierMetric, FollowedClass, asked_for


class CurveMetric(ClassifierMetric):
    """A metric of the area under a curve, in percent."""

    mode: CurveKind
    blur: Substrate = "gaussian51"

    def __init__(
        self,
        classifier: Classifier,
        step: Step = STEP,
        target: FollowedClass = "predicted",
        batch: int | None = None,
        ties: Ties = "reading",
        fill: str | Infiller | None = None,
        refill: Refill = "step",
        draws: int = 1,
    ) -> None:
        super().__init__()
        self.ask(classifier, batch)
        one_of("target", target, ("predicted", "class"))
        one_of("ties", ties, ("reading", "reversed"))
        pixels_of(step, 1)  # raises if it makes no sense
        if fill is None and (refill != "step" or draws != 1):
            raise InputError("refill and draws say how `fill` is used; give one, such as fill='noisy_linear'")
        self.filled = None if fill is None else fill_of(fill, refill, draws)
        self.fill = None if self.filled is None else self.filled.text()
        self.step, self.target, self.ties, self.refill, self.draws = step, target, ties, refill, draws

    def protocol(self) -> dict[str, Any]:
        """Without what plays no part: numbers measured before there were fills keep their key."""
        said = super().protocol()
        for name in ("fill", "refill", "draws") if self.fill is None else ("blur",):
            said.pop(name, None)
        return said

    def curves(self, images: Tensor, maps: Tensor, targets: Tensor | None = None) -> Tensor:
        """The curves (N,steps+1) behind the number; arguments as ``maskwise.measures.perturbation.curves``."""
        asked = asked_for(self.target, targets)
        found = curves(
            self.classifier, images, maps, asked, self.mode, self.step, self.blur, self.batch, self.ties, self.filled
        )
        if found.shape[1] < 3:
            size = "x".join(map(str, images.shape[-2:]))
            raise InputError(
                f"a step of {self.step} takes all of a picture of {size} at once, so that no order is asked: "
                f"a share is of any size, as step={STEP}"
            )
        return found

    def per_image(self, maps: Tensor, *, images: Tensor, targets: Tensor | None = None) -> Tensor:
        """The curves themselves, (N,steps+1): the area is linear in them, so their mean has the mean area."""
        return self.curves(images, maps, targets).to(as_tensor(maps).device)

    def value(self, total: Tensor, count: Tensor) -> Tensor:
        return 100 * area_under(total / count[..., None])


@metrics.register(
    "deletion",
    family="faithfulness",
    title="deletion",
    paper="Petsiuk et al. 2018; SESS, Table 1",
    says=(
        "while the pixels that the map marks most are taken away one after another, the class keeps a "
        "probability of {value} on the mean: the quicker it falls, the more those pixels mattered"
    ),
    unit="%",
    higher_is_better=False,
    needs=("images",),
    takes=("targets",),
)
class Deletion(CurveMetric):
    """Area under the probability while the most salient pixels become the mean colour.

    Args:
        classifier: gives the probabilities.
        step: pixels a step, or the share of all as a float below 1 or a text like "3.571%".
        target: follow the class that is ``predicted`` for the whole picture, or the ``class`` that ``targets`` gives.
        batch: copies in one forward; None: 8 on a CPU, 64 elsewhere.
        ties: of equal pixels the first in reading order goes first (``reading``), or the last (``reversed``, as in
            RISE's evaluator): maps with many zeros differ.
        fill: an infiller by name, with options as ``noisy_linear:noise=0.02``, that stands where pixels are missing.
        refill: ``step`` fills every step's hole from what is left around it; ``once``: see ``fill_of``.
        draws: probabilities are means over so many fills by different random numbers.
    """

    mode = "deletion"


@metrics.register(
    "insertion",
    family="faithfulness",
    title="insertion",
    paper="Petsiuk et al. 2018; SESS, Table 1",
    says=(
        "while the pixels that the map marks most come back into a blurred picture, the class has a "
        "probability of {value} on the mean: the quicker it rises, the more those pixels mattered"
    ),
    unit="%",
    higher_is_better=True,
    needs=("images",),
    takes=("targets",),
)
class Insertion(CurveMetric):
    """Area under the probability while the most salient pixels come back into a blurred picture.

    Args:
        classifier: gives the probabilities.
        step: pixels a step, or the share of all as a float below 1 or a text like "3.571%".
        blur: what it begins with if no fill is given: ``gaussian51``, ``rise11`` or ``mean``.
        target: follow the class that is ``predicted`` for the whole picture, or the ``class`` that ``targets`` gives.
        batch: copies in one forward; None: 8 on a CPU, 64 elsewhere.
        ties: of equal pixels the first in reading order goes first (``reading``), or the last (``reversed``, as in
            RISE's evaluator): maps with many zeros differ.
        fill: an infiller by name, with options as ``noisy_linear:noise=0.02``, that stands where pixels are missing.
        refill: ``step`` fills every step's hole from what is left around it; ``once``: see ``fill_of``.
        draws: probabilities are means over so many fills by different random numbers.
    """

    mode = "insertion"

    def __init__(
        self,
        classifier: Classifier,
        step: Step = STEP,
        blur: Substrate = "gaussian51",
        target: FollowedClass = "predicted",
        batch: int | None = None,
        ties: Ties = "reading",
        fill: str | Infiller | None = None,
        refill: Refill = "step",
        draws: int = 1,
    ) -> None:
        super().__init__(classifier, step, target, batch, ties, fill, refill, draws)
        one_of("blur", blur, ("gaussian51", "rise11", "mean"))
        if fill is not None and blur != "gaussian51":
            raise InputError("insertion begins with `blur` or with `fill`; give one of them")
        self.blur = blur


@metrics.register(
    "insertion_deletion",
    family="faithfulness",
    title="insertion - deletion",
    paper="SESS, Table 1 (overall)",
    says=(
        "putting marked pixels in gives the class {value} more probability, on the mean, than taking them out leaves it"
    ),
    unit="%",
    higher_is_better=True,
    needs=("images",),
    takes=("targets",),
)
class InsertionDeletion(ClassifierMetric):
    """Insertion less deletion, the "overall" of SESS; options as ``insertion``."""

    def __init__(
        self,
        classifier: Classifier,
        step: Step = STEP,
        blur: Substrate = "gaussian51",
        target: FollowedClass = "predicted",
        batch: int | None = None,
        ties: Ties = "reading",
        fill: str | Infiller | None = None,
        refill: Refill = "step",
        draws: int = 1,
    ) -> None:
        super().__init__()
        self.ask(classifier, batch)
        self.insertion = Insertion(classifier, step, blur, target, batch, ties, fill, refill, draws)
        self.deletion = Deletion(classifier, step, target, batch, ties, fill, refill, draws)

    def protocol(self) -> dict[str, Any]:
        return self.insertion.protocol()

    def parts(self) -> Sequence[Metric]:
        return self.insertion, self.deletion

    def per_image(self, maps: Tensor, *, images: Tensor, targets: Tensor | None = None) -> Tensor:
        return torch.cat([part.per_image(maps, images=images, targets=targets) for part in self.parts()], 1)

    def value(self, total: Tensor, count: Tensor) -> Tensor:
        inserted, deleted = (total / count[..., None]).chunk(2, -1)
        return 100 * (area_under(inserted) - area_under(deleted))


@metrics.register(
    "aopc",
    family="faithfulness",
    title="AOPC",
    paper="Samek et al. 2017",
    says="the class loses {value} of probability, on the mean over all steps, as the most salient pixels go first",
    unit="%",
    higher_is_better=True,
    needs=("images",),
    takes=("targets",),
)
class AOPC(ClassifierMetric):
    """How much of the class's probability is lost, mean over all steps of a deletion that takes the most salient first?

    Area over the perturbation curve: mean over k = 0, …, L of p(x_0) - p(x_k). Its rows are those of ``deletion`` with
    the same options, and cost nothing beside them; options as there.
    """

    def __init__(
        self,
        classifier: Classifier,
        step: Step = STEP,
        target: FollowedClass = "predicted",
        batch: int | None = None,
        ties: Ties = "reading",
        fill: str | Infiller | None = None,
        refill: Refill = "step",
        draws: int = 1,
    ) -> None:
        super().__init__()
        self.ask(classifier, batch)
        self.deletion = Deletion(classifier, step, target, batch, ties, fill, refill, draws)

    def protocol(self) -> dict[str, Any]:
        return self.deletion.protocol()

    def parts(self) -> Sequence[Metric]:
        return (self.deletion,)

    def per_image(self, maps: Tensor, *, images: Tensor, targets: Tensor | None = None) -> Tensor:
        return self.deletion.per_image(maps, images=images, targets=targets)

    def value(self, total: Tensor, count: Tensor) -> Tensor:
        return 100 * (total[..., 0] - total.mean(-1)) / count
