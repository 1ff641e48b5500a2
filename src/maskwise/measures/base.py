"""What every metric shares: a sum over pictures of a vector per picture, and a value of that sum."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.lazy_package import lazy_torchmetrics
from maskwise.core.registry import Registry

lazy_torchmetrics()  # of which one class is wanted
import torchmetrics.metric  # noqa: E402
from torchmetrics.utilities.distributed import gather_all_tensors  # noqa: E402


class MetricRegistry(Registry["type[Metric]"]):
    """Facts of a metric: family, title, paper, unit, higher_is_better (None: neither), needs, takes, needs_classifier.

    ``says`` goes on after "… means that", for who never heard of the metric, with ``{value}`` where the number and its
    unit stand: "in {value} of the pictures …". Pages show it with the number of the best method; it may be left out.
    ``needs``, ``takes``, ``unit`` and ``higher_is_better`` become attributes of the class as well.
    """

    def register(self, name: str, **facts: Any) -> Callable[[type[Metric]], type[Metric]]:
        if "{value}" not in (facts.setdefault("says", "") or "{value}"):
            raise ValueError(f"{name}: `says` is a sentence with {{value}} in it")

        def file(entry: type[Metric]) -> type[Metric]:
            entry.needs, entry.takes = tuple(facts["needs"]), tuple(facts.setdefault("takes", ()))
            entry.unit, entry.higher_is_better = facts["unit"], facts["higher_is_better"]
            return super(MetricRegistry, self).register(name, needs_classifier=entry.needs_classifier, **facts)(entry)

        return file


metrics = MetricRegistry("metric")


class Metric(torchmetrics.metric.Metric):
    """Base of all metrics.

    A metric is a function of the sum over pictures of a vector of statistics, so that it streams, adds up over
    processes, and is resampled by a matrix product. A new one is one class and one registration: it defines
    ``per_image`` and, where it isn't the mean of one number, ``value``. Each keyword of its constructor
    is an option, kept as an attribute of the same name.

    Attributes:
        needs: keywords that ``per_image`` can't do without, beside the maps.
        takes: keywords that it uses where they are known.
        needs_classifier: is the first argument of the constructor a classifier?
        unit: of the value; ``"%"`` or a name or nothing.
        revision: raised where the same settings give other numbers than before, so that rows that were kept are not
            taken for today's.

    The ground truth that keywords stand for, all at the maps' size and in their pixels:
        ``boxes``: list of N tensors (M_i,4), half open; ``masks`` (N,H,W) bool, foreground; ``ignore`` (N,H,W) bool,
        pixels that don't count; ``regions``: list of N dictionaries from class to (H,W) bool; ``categories`` (N,)
        int64, the class among the regions that a map answers for, -1 if unknown; ``difficult``: list of N sets of
        such classes; ``images`` (N,3,H,W) in [0,1]; ``targets`` (N,) int64, the class that was explained;
        ``labels`` (N,) int64, the true class, -1 if unknown; ``probabilities`` (N,C) of the whole pictures.

    Example:
        >>> le = metric("le", alpha=1.0)
        >>> maps = torch.zeros(1, 8, 8)
        >>> maps[0, 2:5, 1:7] = 1
        >>> le.update(maps, boxes=[torch.tensor([[1, 2, 7, 5]])])
        >>> le.compute()
        tensor(0., dtype=torch.float64)
    """

    full_state_update = False
    is_differentiable = False
    revision: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ()
    takes: ClassVar[tuple[str, ...]] = ()
    needs_classifier: ClassVar[bool] = False
    unit: ClassVar[str] = ""
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.reserve(1)

    def reserve(self, size: int) -> None:
        """Makes room for D statistics; a constructor that knows of more than one calls it."""
        self.add_state("total", torch.zeros(size, dtype=torch.float64), dist_reduce_fx="sum")

    def per_image(self, maps: Tensor, *_: Any, **truth: Any) -> Tensor:
        """Statistics (N,D), float64, on the maps' device; a row of NaN is a picture without such truth."""
        raise NotImplementedError

    def value(self, total: Tensor, count: Tensor) -> Tensor:
        """Values (…) of sums (…,D) over so many pictures (…); NaN where there is nothing to say."""
        return total[..., 0] / count

    def _sync_dist(
        self, dist_sync_fn: Callable[..., list[Tensor]] = gather_all_tensors, process_group: Any = None
    ) -> None:
        """A process that has seen no picture may not know how many statistics there are: the others do."""
        size = torch.tensor(self.total.numel(), device=self.total.device)
        sizes = dist_sync_fn(size, group=process_group or self.process_group)
        self.total = self.total.expand(max(int(s) for s in sizes)).clone()
        super()._sync_dist(dist_sync_fn, process_group)

    def parts(self) -> Sequence[Metric]:
        """Metrics whose statistics, side by side, are this one's: who has theirs need not compute them again."""
        return ()

    def update(self, maps: Tensor, *args: Any, **truth: Any) -> None:
        """Adds pictures; arguments as ``per_image``."""
        rows = self.per_image(maps, *args, **truth).to(self.total)
        known = ~rows.isnan().any(1)
        self.total = self.total + rows[known].sum(0)
        self.count = self.count + known.sum()

    def compute(self) -> Tensor:
        return self.value(self.total, self.count)

    def protocol(self) -> dict[str, Any]:
        """The settings behind the number, by name: every option but those that only cost time."""
        options = inspect.signature(type(self)).parameters
        return {name: getattr(self, name) for name in options if name not in ("classifier", "batch")}


def metric(name: str, classifier: Classifier | None = None, **options: Any) -> Metric:
    """A metric by name.

    Args:
        name: as registered.
        classifier: what a metric of faithfulness asks; the others do without.
        options: the metric's own keywords.

    Raises:
        InputError: unknown metric, an option that it does not have, or no classifier where one is needed.
    """
    asks = metrics.get(name).needs_classifier
    if asks and classifier is None:
        raise InputError(f"{name} asks a classifier: give it one")
    made: Metric = metrics.build(name, *([classifier] if asks else []), **options)
    return made
