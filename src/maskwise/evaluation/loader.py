"""Pictures of a data set as batches of items: one after another, each at its size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.options import one_of
from maskwise.data import DataSet
from maskwise.data.damaged import may_be_skipped
from maskwise.data.difficult import DifficultCases
from maskwise.evaluation.batch import Batch, Resize, fitted
from maskwise.evaluation.items import Item, Target, items_of

ItemIndex = tuple[int, int]  # of an item: its picture in the data set, and which of the picture's items it is


@dataclass(frozen=True)
class Settings:
    """How pictures are brought to the classifier.

    Attributes:
        resize: ``squash`` to the input size; ``crop``: shorter side to it, then the centre, as CASM does; or ``none``:
            pictures and maps keep the picture's own size.
        target: the class that is explained: the classifier's ``predicted`` one; the picture's ``label``; ``each``
            class of the picture, one map and one row for each, as the pointing game asks; or one class for all
            pictures, by index, name or WordNet id.
        limit: only so many pictures of each data set, evenly spread over it.
        batch: maps at once.
        difficult: the list that says which classes of which pictures are difficult; None leaves it to a rule.
        skip_damaged: pass over pictures that can't be read with their truth, and count them; else the first ends it.
        missing: a picture that a folder of maps has no map of is an error (``refuse``), or left out for all (``skip``).
    """

    resize: Resize = "squash"
    target: Target = "predicted"
    limit: int | None = None
    batch: int = 8
    difficult: DifficultCases | None = None
    skip_damaged: bool = False
    missing: Literal["refuse", "skip"] = "refuse"

    def __post_init__(self) -> None:
        if self.resize not in ("squash", "crop", "none"):
            raise InputError(f"resize is squash, crop or none, not {self.resize!r}")
        if self.batch < 1:
            raise InputError(f"batch must be at least 1, not {self.batch}")
        one_of("missing", self.missing, ("refuse", "skip"))


def batches(
    data: DataSet,
    indices: Sequence[int],
    classifier: Classifier,
    settings: Settings,
    damaged: dict[int, str] | None = None,
) -> Iterator[tuple[Batch, list[ItemIndex], range]]:
    """Batches of items of one size; (picture, place in it) of each item; and which of the pictures are done with it.

    Args:
        damaged: gets what is wrong with each picture that is passed over.

    Raises:
        InputError: a picture can't be read, and is not to be passed over.
    """

    def batch(held: list[tuple[Item, ItemIndex]], done: range) -> tuple[Batch, list[ItemIndex], range]:
        items = [item for item, _ in held]
        cases = settings.difficult
        listed = None if cases is None else [cases.of(i.sample.id, i.regions, data.classes) for i in items]
        return Batch.of_items(items, classifier, settings.target, listed), [place for _, place in held], done

    held: list[tuple[Item, ItemIndex]] = []
    first = 0
    for number, index in enumerate(indices):
        try:
            stored = data[index]
        except InputError as error:
            if not settings.skip_damaged:
                raise may_be_skipped(error) from None
            if damaged is not None:
                damaged[index] = str(error)
            continue
        sample = fitted(stored, classifier, settings.resize)
        for place, item in enumerate(items_of(sample, data, classifier, settings.target)):
            if held and (len(held) == settings.batch or held[0][0].sample.image.shape != sample.image.shape):
                yield batch(held, range(first, number))
                held, first = [], number
            held.append((item, (index, place)))
    if held:
        yield batch(held, range(first, len(indices)))
