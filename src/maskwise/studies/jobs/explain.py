"""A method, perhaps inside SESS, measured on the test pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskwise.explainers.masker import packaged_masker
from maskwise.studies.jobs.base import ExplainerJob, JobCost, Numbers
from maskwise.studies.measure import measured_numbers
from maskwise.studies.protocol import EvaluationProtocol
from maskwise.studies.run_config import RunConfig
from maskwise.studies.scale import Scale

if TYPE_CHECKING:
    from maskwise.explainers import Explainer

PICTURES = 50_000  # of a test set that no limit shortens: ImageNet's validation


@dataclass(frozen=True)
class Explain(ExplainerJob):
    """Measures a method.

    Attributes:
        method: as ``maskwise methods`` lists it.
        options: of the method.
        sess: options of SESS around it; None is the method alone.
        network: which of the scale's classifiers is explained.
        limit: pictures of each test set, where that is fewer than the scale's.
    """

    method: str
    options: dict[str, Any] = field(default_factory=dict)
    sess: dict[str, Any] | None = None
    network: str = "main"
    limit: int | None = None

    def with_seed(self, seed: int) -> Explain:
        return self

    def facts(self, config: RunConfig) -> dict[str, Any]:
        path = packaged_masker(self.method)
        return {
            "method": self.method, "options": self.options, "sess": self.sess, "limit": self.limit,
            "network": config.scale.classifiers[self.network],
            "masker": config.digest(path) if path.is_file() else None,
        }  # fmt: skip

    def cost(self, scale: Scale) -> JobCost:
        pictures = min(n for n in (self.limit, scale.limit, PICTURES) if n is not None)
        return JobCost(maps=pictures * windows(self.sess))

    def explainer(self, config: RunConfig) -> Explainer:
        from maskwise.explainers import explainer
        from maskwise.sess import enhanced

        made = explainer(self.method, config.classifier(self.network), **self.options)
        return made if self.sess is None else enhanced(made, **self.sess)

    def run(self, config: RunConfig, protocol: EvaluationProtocol, row: str, folder: Path) -> Numbers:
        return {row: measured_numbers(self.explainer(config), config, protocol, self.network, folder, self.limit)}


def windows(sess: dict[str, Any] | None) -> int:
    """Of a square picture at the window's size: SESS cuts ceil(side / window)^2 at each scale.

    Example:
        >>> windows(None), windows({"scales": 6}), windows({"scales": 12})
        (1, 31, 122)
    """
    if sess is None:
        return 1
    return sum((-(-(224 + 64 * i) // 224)) ** 2 for i in range(sess.get("scales", 12)))
