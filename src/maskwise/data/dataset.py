"""A data set: records that are known without opening a picture, and samples that are loaded one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.data.sample import Sample
from maskwise.labels import Labels

Box = tuple[float, float, float, float]
Self = TypeVar("Self", bound="DataSet")


@dataclass(frozen=True)
class Record:
    """What a listing knows about one picture.

    Attributes:
        id: its path within the data set.
        label: class index of the classifier's classes, or None.
        category: class index of the data set's own classes, or None.
        boxes: where the listing holds them; (x0,y0,x1,y1) in pixels of the stored picture, half open.
        box_classes: one a box, for data with several classes in a picture.
        annotation: a file that holds the boxes, read together with the picture.
        masks: files that hold the foreground.
        ignore: the file that holds the pixels not to be counted.
        has_boxes: will the sample have boxes, as far as the listing can tell?
        has_mask: will it have a mask?
        subject: of whom or what it is, where several pictures may be of one (a patient, an animal, a video): those are
            no independent pictures. None is that nobody says.
    """

    id: str
    label: int | None = None
    category: int | None = None
    boxes: tuple[Box, ...] = ()
    box_classes: tuple[int, ...] | None = None
    annotation: str | None = None
    masks: tuple[str, ...] = ()
    ignore: str | None = None
    has_boxes: bool = False
    has_mask: bool = False
    subject: str | None = field(default=None, repr=False)  # digests of content without any are what they always were

    def __post_init__(self) -> None:
        object.__setattr__(self, "has_boxes", self.has_boxes or bool(self.boxes) or self.annotation is not None)
        object.__setattr__(self, "has_mask", self.has_mask or bool(self.masks))


@dataclass(frozen=True, eq=False)
class DataSet:
    """Base of all data sets; a subclass gives ``image`` and ``sample`` of a record.

    Attributes:
        name: the source it was read from.
        records: in a fixed order.
        classes: names of its own classes, or None.

    Example:
        >>> from maskwise.data import read_data
        >>> data = read_data("shapes:n=4,size=64")
        >>> len(data), data[0].image.shape, data.classes[data[0].category]
        (4, torch.Size([3, 64, 64]), 'circle')
    """

    name: str
    records: Sequence[Record]
    classes: tuple[str, ...] | None = None

    @classmethod
    def read(cls, rest: str) -> DataSet:
        """The data set that a source ``name:rest`` describes.

        Raises:
            InputError: nothing there, or a listing that can't be read.
        """
        raise NotImplementedError

    def image(self, record: Record) -> Tensor:
        """Only the picture (3,H,W), RGB in [0,1]: what training needs.

        Raises:
            InputError: it is missing or damaged.
        """
        raise NotImplementedError

    def sample(self, record: Record) -> Sample:
        """The picture and its truth.

        Raises:
            InputError: a file is missing or damaged, or the truth does not fit the picture; it names the file.
        """
        raise NotImplementedError

    def group(self, record: Record) -> int | None:
        """Pictures of one group are best read one after another, as those of a shard far away; None: any order does."""
        return None

    def shows(self, record: Record, finding: int, classes: Labels) -> bool | None:
        """Does the picture show a finding, an index among a classifier's ``classes``, as a table of several findings a
        picture says? None: there is no such table, or it does not say.
        """
        return None

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        return self.sample(self.records[index])

    def __iter__(self) -> Iterator[Sample]:
        return map(self.sample, self.records)

    def subset(self: Self, indices: Iterable[int]) -> Self:
        """The pictures at these positions, in this order."""
        return replace(self, records=[self.records[i] for i in indices])

    def filter(self: Self, keep: Callable[[Record], bool]) -> Self:
        """The pictures for which ``keep(record)`` is true."""
        return replace(self, records=[record for record in self.records if keep(record)])

    def with_own_labels(self: Self) -> Self:
        """Labels are the data set's own classes: for a classifier that was trained on them.

        Raises:
            InputError: it has none.
        """
        if all(record.category is None for record in self.records):
            raise InputError(f"{self.name}: has no classes of its own to take as labels")
        return replace(self, records=[replace(r, label=r.category) for r in self.records])
