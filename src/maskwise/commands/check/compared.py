"""The methods that a check compares, in a command of any check that takes several."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from maskwise.commands.check.options import BatchOption, CacheGib, Methods, Seed, own_options, with_masker
from maskwise.commands.groups import Model, Sess, each_with_sess, make_explainer
from maskwise.commands.groups.measuring import SkipDamaged
from maskwise.commands.groups.method import MaskerFile, MethodOptions
from maskwise.commands.groups.sess import EnhanceEach

if TYPE_CHECKING:
    from torch import Tensor

    from maskwise.checks.rows import Values
    from maskwise.classifiers import Classifier
    from maskwise.sess.sweep import AnyExplainer


@dataclass(frozen=True)
class Compared:
    """Which methods, and how their maps and the pictures for them are made."""

    method: Methods = field(default_factory=lambda: ["casm", "grad_cam"])
    masker: MaskerFile = None
    options: MethodOptions = None
    sess: EnhanceEach = "no"
    batch: BatchOption = 32
    cache_gib: CacheGib = 4.0
    skip_damaged: SkipDamaged = False
    seed: Seed = 0

    def explainers(self, model: Model, sess_options: Sess) -> tuple[dict[str, AnyExplainer], Classifier]:
        """The methods by name, those inside SESS among them, and what they explain.

        Raises:
            InputError: a method, an option or a classifier that there is not; said before anything is loaded.
        """
        from maskwise.core.allocator import keep_freed_memory

        keep_freed_memory()
        enhance, own = sess_options.of_each(self.sess), own_options(self.options, self.method)
        classifier = model.load()
        return {
            called: make_explainer(
                name, classifier, with_masker(own, name, self.masker), model.precision, enhance if inside else None
            )
            for called, name, inside in each_with_sess(self.method, self.sess)
        }, classifier

    def pictures(self, sources: list[str], classifier: Classifier, limit: int | None) -> tuple[Values, Tensor | None]:
        """Of data sets, at the classifier's size; and the number of each one's subject, where those are known."""
        from maskwise.checks.pictures import grouped_pictures

        return grouped_pictures(sources, classifier.size, limit, self.cache_gib, self.skip_damaged)
