"""Who takes part in a comparison."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

import maskwise
from maskwise.classifiers import Classifier
from maskwise.core.code_digest import UnreadableCodeError, code_digest
from maskwise.evaluation.given_maps import GivenMaps
from maskwise.explainers.adapter import AdaptedExplainer
from maskwise.explainers.base import Explainer
from maskwise.sess import SESS
from maskwise.sess.sweep import AnyExplainer


@dataclass(frozen=True)
class Contender:
    """An explainer under a name.

    Attributes:
        name: what tables call it.
        explainer: any callable (images, targets) -> maps; one with a parameter ``ids`` gets the pictures' ids, too.
        identity: plain data that tells it from every other one: method, options, weights; rows are filed under it.
        unread: why its code can't be read, so that it can't be told from another one of its name and its rows are not
            kept; None where it can.
        takes_ids: it asks for ids, so that its maps may come from anywhere: its rows are filed under each map's content
            instead, and its maps are asked for each time.
    """

    name: str
    explainer: AnyExplainer
    identity: dict[str, Any]
    unread: str | None = None
    takes_ids: bool = False

    @classmethod
    def of(cls, name: str, explainer: AnyExplainer) -> Contender:
        """With the identity that the explainer has of itself; functions and classes of yours have their code's."""
        if isinstance(explainer, GivenMaps):
            return cls(name, explainer, explainer.identity, takes_ids=True)
        identity: dict[str, Any] = dict(getattr(explainer, "identity", {"function": name}))
        takes_ids = _takes_ids(explainer)
        try:
            return cls(name, explainer, identity | _code_of(explainer), takes_ids=takes_ids)
        except UnreadableCodeError as error:  # of maps with an identity of their own nobody needs the code's
            return cls(name, explainer, identity, None if takes_ids else str(error), takes_ids)

    def explain(self, images: Tensor, targets: Tensor, ids: Sequence[str]) -> Tensor:
        """What the explainer gives for pictures (N,3,H,W) with these ids."""
        explainer: Callable[..., Tensor] = self.explainer
        return explainer(images, targets, ids=ids) if self.takes_ids else explainer(images, targets)

    @property
    def filed(self) -> dict[str, Any]:
        """What rows are filed under: the identity; of maps with an identity of their own only where they come from."""
        if not self.takes_ids:
            return self.identity
        return {"maps": "files"} if isinstance(self.explainer, GivenMaps) else {"maps": "by ids", "function": self.name}


def map_digest(saliency: Tensor) -> str:
    """16 hex digits of a map (H,W) float32, its size among them."""
    found = hashlib.sha256(repr(tuple(saliency.shape)).encode())
    found.update(saliency.contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def _takes_ids(explainer: Any) -> bool:
    """Has it a parameter ``ids``?"""
    try:
        return "ids" in inspect.signature(explainer).parameters
    except (TypeError, ValueError):
        return False


def innermost(explainer: Any) -> Any:
    """What is within SESS, and within what makes an explainer of a function."""
    while isinstance(explainer, (SESS, AdaptedExplainer)):
        explainer = explainer.settings.explainer if isinstance(explainer, SESS) else explainer.source
    return explainer


def made_for(explainer: Any, judge: Classifier) -> list[str]:
    """Digests of the classifiers that an explainer asks and that are not ``judge``, outermost first.

    The same network that sees pictures at another size is another one; its size is said.
    """
    asked: list[Classifier] = []
    while isinstance(explainer, (SESS, Explainer)):
        asked.append(explainer.settings.classifier if isinstance(explainer, SESS) else explainer.classifier)
        explainer = explainer.settings.explainer if isinstance(explainer, SESS) else getattr(explainer, "source", None)
    others = {id(one): one for one in asked if one is not judge}
    own = judge.digest() if others else ""
    found = []
    for one in others.values():
        digest = one.digest()
        if one.size != judge.size:
            found.append(f"{digest} at {one.size[0]}x{one.size[1]}")
        elif digest != own:
            found.append(digest)
    return found


SET_BY_OPTIONS = ("normalise", "signed", "precision", "needs_target")
NO_OPTIONS = {"classifier", "report", "doubted", "_spread", "identity", "progress", "strict", "trained_on"}


def _code_of(explainer: Any) -> dict[str, Any]:
    """What the identity does not say: the version of this package, code that is not of it, and what was set since."""
    found: dict[str, Any] = {"maskwise": maskwise.__version__}
    inner = innermost(explainer)
    if not isinstance(inner, Explainer):
        return found | {"code": code_digest(inner)}
    state = {key: value for key, value in vars(inner).items() if key not in NO_OPTIONS}
    if type(inner).__module__.partition(".")[0] != "maskwise":
        return found | {"code": code_digest((type(inner), sorted(state.items())))}
    if "precision" not in inner.identity:  # not made by its name, so that nobody noted its options
        return found | {"options": code_digest(sorted(state.items()))}
    noted = [(key, told) for key, told in inner.identity.items() if key in state]
    changed = {key: str(state[key]) for key, told in noted if _differs(told, state[key])}
    usual = not inner.signed if "signed" in state else type(inner).normalise
    if inner.normalise != usual:
        changed["normalise"] = str(inner.normalise)
    overridden = [key for key in state.keys() & dir(type(inner)) if key not in SET_BY_OPTIONS]
    changed |= {key: code_digest(state[key]) for key in sorted(overridden)}
    return found | ({"changed": changed} if changed else {})


def _differs(told: Any, now: Any) -> bool:
    plain = (bool, int, float, str)
    return isinstance(told, plain) and isinstance(now, plain) and told != now
