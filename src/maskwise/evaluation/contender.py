"""Who takes part in a comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from maskwise.sess.sweep import AnyExplainer


@dataclass(frozen=True)
class Contender:
    """An explainer under a name.

    Attributes:
        name: what tables call it.
        explainer: any callable (images, targets) -> maps.
        identity: plain data that tells it from every other one: method, options, weights; rows are filed under it.
    """

    name: str
    explainer: AnyExplainer
    identity: dict[str, Any]

    @classmethod
    def of(cls, name: str, explainer: AnyExplainer) -> Contender:
        """With the identity that the explainer has of itself; a plain function is known by its name only."""
        return cls(name, explainer, dict(getattr(explainer, "identity", {"function": name})))
