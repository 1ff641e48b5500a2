"""Which metrics rank methods alike, and pictures alike: rank correlations between metrics with bootstrap intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from maskwise.core.bootstrap import drawn_weights, resampled
from maskwise.core.connected import or_alone
from maskwise.core.correlation import kendall, weighted_spearman
from maskwise.core.errors import InputError
from maskwise.core.nan import none_for_nan
from maskwise.evaluation.measured import Measured
from maskwise.measures import Metric

METHODS, PICTURES = "methods", "pictures"
FEWEST = 3  # methods, and pictures: two are always in the same order or in the opposite one


@dataclass(frozen=True)
class Correlations:
    """Between all K metrics; (K,K) float64 each, NaN where one of two has nothing to rank by.

    Attributes:
        value: from -1 to 1.
        low, high: ends of the 95% percentile bootstrap interval over pictures. A resample is noisier than the data, so
            that intervals lean towards 0, and one of a value near 1 may lie below it.
    """

    value: Tensor
    low: Tensor
    high: Tensor


@dataclass(frozen=True)
class MetricAgreement:
    """How alike metrics rank. Metrics of which less is better count with the sign turned, so that 1 is agreement.

    Attributes:
        metrics: names of those that have numbers.
        methods: names.
        pictures: of each metric, how many say something.
        over_methods: Kendall's tau-b over the methods' values.
        over_pictures: Spearman's correlation over the pictures of a method, mean over methods.
        neither: names of metrics that have no better side; they count as they are.
        protocol: plain data.
    """

    metrics: list[str]
    methods: list[str]
    pictures: dict[str, int]
    over_methods: Correlations
    over_pictures: Correlations
    neither: list[str] = field(default_factory=list)
    protocol: dict[str, Any] = field(default_factory=dict)

    def cells(self) -> list[dict[str, Any]]:
        """The matrix: ``row`` and ``column`` are metrics; ``value``, ``low``, ``high`` None where there is no number.

        Where the row's metric comes first the numbers are ``over`` methods, and else over pictures.
        """
        found = []
        for i, one in enumerate(self.metrics):
            for j, other in enumerate(self.metrics):
                if i != j:
                    kind, numbers = (METHODS, self.over_methods) if i < j else (PICTURES, self.over_pictures)
                    ends = {key: float(getattr(numbers, key)[i, j]) for key in ("value", "low", "high")}
                    found.append({"row": one, "column": other, "over": kind, **none_for_nan(ends)})
        return found


def agreement(measured: Measured, resamples: int = 1000, seed: int = 0) -> MetricAgreement:
    """How alike the metrics of a comparison rank its methods, and the pictures of each method.

    All data sets are pooled. Over methods each metric has the value that the leaderboard shows; each resample of the
    pictures, the same for all methods and metrics, gives it anew. Over pictures a metric has its value of each picture
    alone; of two metrics those pictures count of which both say something.

    Args:
        measured: of at least three methods and two metrics.
        resamples: of the bootstrap over pictures.
        seed: of the draws.

    Raises:
        InputError: too few methods or metrics.

    Example:
        >>> import maskwise as mw
        >>> from maskwise.evaluation import Contender, measure
        >>> network = mw.load_classifier("efficientnet_lite0")
        >>> three = [Contender.of(name, mw.explainer(name, network)) for name in ("center", "edges", "random")]
        >>> asked = {name: mw.metric(name) for name in ("le", "energy_pointing")}
        >>> found = agreement(measure(three, network, ["shapes:n=4"], asked))
        >>> found.over_methods.value.shape
        torch.Size([2, 2])
    """
    names = [contender.name for contender in measured.contenders]
    if len(names) < FEWEST:
        raise InputError(f"agreement of metrics needs at least {FEWEST} methods to be ranked, not {len(names)}")
    rows = {metric: {name: measured.rows(name, metric) for name in names} for metric in measured.metrics}
    there = {k: of for k, of in rows.items() if not any(row.isnan().any(1).all() for row in of.values())}
    if len(there) < 2:
        raise InputError(f"agreement needs at least 2 metrics that these pictures say something of, not {len(there)}")
    judges = {name: measured.metrics[name] for name in there}
    known = {name: [~row.isnan().any(1) for row in of.values()] for name, of in there.items()}
    count = len(next(iter(there[next(iter(there))].values())))
    groups = or_alone(measured.groups(list(measured.pictures)), count)
    return MetricAgreement(
        list(there), names, {name: int(torch.stack(of).all(0).sum()) for name, of in known.items()},
        _over_methods(judges, there, groups, resamples, seed),
        _over_pictures(judges, there, groups, resamples, seed),
        [name for name, judge in judges.items() if judge.higher_is_better is None],
        {
            "data": {source: len(of) for source, of in measured.pictures.items()}, "classifier": measured.classifier,
            "methods": {contender.name: contender.identity for contender in measured.contenders},
            "metrics": {name: judge.protocol() for name, judge in judges.items()},
            "resize": measured.settings.resize, "target": measured.settings.target,
            "interval": f"95%, percentile bootstrap over {measured.drawn}, {resamples} resamples, seed {seed}",
        },
    )  # fmt: skip


def by_chance(methods: int) -> float:
    """Kendall's correlation that 95% of pairs of unrelated rankings of so many methods stay within (normal theory).

    Example:
        >>> round(by_chance(14), 2)
        0.39
    """
    return 1.96 * math.sqrt(2 * (2 * methods + 5) / (9 * methods * (methods - 1)))


def _turned(judge: Metric) -> int:
    return -1 if judge.higher_is_better is False else 1


def _over_methods(
    judges: dict[str, Metric], rows: dict[str, dict[str, Tensor]], groups: Tensor, resamples: int, seed: int
) -> Correlations:
    values, draws = [], []
    for name, judge in judges.items():
        known = [row[~row.isnan().any(1)] for row in rows[name].values()]
        whole = [_values(judge, row.sum(0), torch.tensor(len(row))) for row in known]
        again = [resampled(judge, row, groups, resamples, seed) for row in rows[name].values()]
        values.append(_turned(judge) * torch.stack(whole))
        draws.append(_turned(judge) * torch.stack(again, 1))
    once = kendall(torch.stack(values, 1)[None])[0]
    return Correlations(once, *_ends(kendall(torch.stack(draws, 2)), once))


def _over_pictures(
    judges: dict[str, Metric], rows: dict[str, dict[str, Tensor]], groups: Tensor, resamples: int, seed: int
) -> Correlations:
    methods = list(next(iter(rows.values())))
    found = [
        _of_method([_turned(j) * _of_each(j, rows[k][method]) for k, j in judges.items()], groups, resamples, seed)
        for method in methods
    ]
    value, draws = (torch.stack(part).nanmean(0) for part in zip(*found, strict=True))
    return Correlations(value, *_ends(draws, value))


def _of_each(judge: Metric, rows: Tensor) -> Tensor:
    """(N,): the metric's value of each picture alone; NaN of one that says nothing."""
    alone = torch.ones(len(rows), dtype=torch.float64)
    return _values(judge, rows, alone).masked_fill(rows.isnan().any(1), torch.nan)


def _values(judge: Metric, total: Tensor, count: Tensor) -> Tensor:
    return judge.value(total.double(), count.double()).double()


def _of_method(columns: list[Tensor], groups: Tensor, resamples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Correlations (K,K) and of resamples (R,K,K) of one method's values (N,) by metric.

    Metrics may know of different pictures: of two those count which both know, so that each such set of pictures is
    looked at once, with all metrics that know all of it.
    """
    table = torch.stack(columns, 1)
    known, size = ~table.isnan(), len(columns)
    value = torch.full((size, size), torch.nan, dtype=torch.float64)
    draws = torch.full((resamples, size, size), torch.nan, dtype=torch.float64)
    shared = known[:, :, None] & known[:, None]
    for both in shared.flatten(1).unique(dim=1).T:
        pairs = (shared == both[:, None, None]).all(0)
        able = known[both].all(0)
        if both.sum() < FEWEST or not able.any():
            continue
        numbers, chosen = table[both][:, able], pairs[able][:, able]
        again = [weighted_spearman(numbers, w) for w in drawn_weights(both, groups, resamples, seed)]
        value[pairs] = weighted_spearman(numbers, torch.ones(1, len(numbers)))[0][chosen]
        if again:
            draws[:, pairs] = torch.cat(again)[:, chosen]
    return value, draws


def _ends(draws: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Ends of the interval of draws (R,K,K); NaN where there is no value, and without draws."""
    if not len(draws):
        return torch.full_like(value, torch.nan), torch.full_like(value, torch.nan)
    low, high = torch.nanquantile(draws, torch.tensor([0.025, 0.975], dtype=torch.float64), 0)
    return low.masked_fill(value.isnan(), torch.nan), high.masked_fill(value.isnan(), torch.nan)
