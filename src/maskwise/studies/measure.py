"""An explainer through a study's metrics: a value of each column and its draws over resampled pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.bootstrap import Average, resampled
from maskwise.core.connected import or_alone
from maskwise.evaluation import Contender, Measured, Settings, measure
from maskwise.explainers.masker import MaskerExplainer
from maskwise.measures import Metric, metric
from maskwise.studies.estimate import Number
from maskwise.studies.protocol import SECONDS, EvaluationProtocol
from maskwise.studies.run_config import RunConfig

if TYPE_CHECKING:
    from maskwise.explainers import Explainer


def measured_numbers(
    explainer: Explainer,
    config: RunConfig,
    protocol: EvaluationProtocol,
    network: str,
    folder: Path,
    limit: int | None = None,
) -> dict[str, Number]:
    """Numbers by column; NaN where the pictures lack the truth that a metric needs.

    Args:
        explainer: what is measured.
        network: which of the scale's classifiers judges faithfulness.
        folder: keeps the rows, so that a killed measurement goes on.
        limit: pictures of each test set, where that is fewer than the run's.
    """
    measured = measured_rows(explainer, config, protocol, network, folder, limit)
    found = {}
    for column in protocol.columns:
        if column.metric is not None:
            rows = measured.rows("map", column.name if column.metric != SECONDS else SECONDS)
            judge = None if column.metric == SECONDS else measured.metrics[column.name]
            number = bootstrapped(judge, rows, groups_of(measured), config.scale.resamples)
            found[column.name] = Number(column.times * number.value, column.times * number.draws)
    return found


def measured_rows(
    explainer: Explainer,
    config: RunConfig,
    protocol: EvaluationProtocol,
    network: str,
    folder: Path,
    limit: int | None = None,
) -> Measured:
    """What every test picture contributes to every column's metric."""
    classifier = config.classifier(network)
    metrics = {
        c.name: _metric(c.metric, classifier, c.options) for c in protocol.columns if c.metric and c.metric != SECONDS
    }
    if not metrics:  # time is all that is asked for
        metrics = {"area": metric("area")}  # without one no map is made
        explainer(classifier.example().cpu())  # the first one plans and allocates
    few = [n for n in (limit, config.limit) if n is not None]
    settings = Settings(protocol.resize, protocol.target, min(few) if few else None, protocol.batch or classifier.batch)
    contender = Contender.of("map", explainer)
    return measure([contender], encoder_of(explainer), config.sets(config.test), metrics, settings, folder / "rows")


def encoder_of(explainer: Explainer) -> Classifier:
    """Whose guess counts as the class: a masker's adapted classifier (CASM's OM), or the one explained."""
    return explainer.judge if isinstance(explainer, MaskerExplainer) else explainer.classifier


def _metric(name: str, classifier: Classifier, options: dict[str, Any]) -> Metric:
    if name.startswith("pointing"):
        options = {"classes": max(len(classifier.labels), 1000), **options}
    return metric(name, classifier, **options)


def groups_of(measured: Measured) -> Tensor:
    """(N,) number of the picture of each row, or of its subject."""
    return or_alone(measured.groups(list(measured.pictures)), sum(map(len, measured.pictures.values())))


def bootstrapped(judge: Metric | None, rows: Tensor, pictures: Tensor, resamples: int, seed: int = 0) -> Number:
    """The value over rows (N,D) and over resampled pictures; draws of the same pictures are the same for every caller.

    Args:
        judge: gives the value of a sum; None is the mean of the first column.
        rows: one with NaN says nothing.
        pictures: (N,) the picture of each row.
        resamples: how often as many pictures are drawn with replacement.
        seed: of the draws.
    """
    known = ~rows.isnan().any(1)
    if not known.any():
        return Number(float("nan"))
    statistic = Average() if judge is None else judge
    kept = rows[known].double()
    once = float(statistic.value(kept.sum(0, keepdim=True), torch.tensor([float(len(kept))], dtype=torch.float64)))
    if len(pictures[known].unique()) < 2:  # drawn again it is itself: that says nothing of the error
        return Number(once, np.full(resamples, np.nan))
    return Number(once, resampled(statistic, rows, pictures, resamples, seed).numpy())
