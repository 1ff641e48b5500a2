"""Who takes part in a comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import maskwise
from maskwise.core.code_digest import UnreadableCodeError, code_digest
from maskwise.explainers.adapter import AdaptedExplainer
from maskwise.explainers.base import Explainer
from maskwise.sess import SESS
from maskwise.sess.sweep import AnyExplainer


@dataclass(frozen=True)
class Contender:
    """An explainer under a name.

    Attributes:
        name: what tables call it.
        explainer: any callable (images, targets) -> maps.
        identity: plain data that tells it from every other one: method, options, weights; rows are filed under it.
        unread: why its code can't be read, so that it can't be told from another one of its name and its rows are not
            kept; None where it can.
    """

    name: str
    explainer: AnyExplainer
    identity: dict[str, Any]
    unread: str | None = None

    @classmethod
    def of(cls, name: str, explainer: AnyExplainer) -> Contender:
        """With the identity that the explainer has of itself; functions and classes of yours have their code's."""
        identity: dict[str, Any] = dict(getattr(explainer, "identity", {"function": name}))
        if isinstance(explainer, SESS) and not isinstance(identity["of"], dict):
            identity["of"] = {"function": type(explainer.settings.explainer).__name__}
        try:
            return cls(name, explainer, identity | _code_of(explainer))
        except UnreadableCodeError as error:
            return cls(name, explainer, identity, str(error))


def _code_of(explainer: Any) -> dict[str, str]:
    """What the identity does not say: the version of this package, and the digest of code that is not of it."""
    inner = explainer.settings.explainer if isinstance(explainer, SESS) else explainer
    inner = inner.source if isinstance(inner, AdaptedExplainer) else inner
    if isinstance(inner, Explainer):
        own = type(inner).__module__.partition(".")[0] != "maskwise"
        return {"maskwise": maskwise.__version__} | ({"code": code_digest(type(inner))} if own else {})
    return {"maskwise": maskwise.__version__, "code": code_digest(inner)}
