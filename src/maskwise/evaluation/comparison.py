"""Explainers measured on data in one call: what ``maskwise evaluate`` and ``maskwise compare`` do, from Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.data import DataSet
from maskwise.evaluation.batch import Resize
from maskwise.evaluation.contender import Contender
from maskwise.evaluation.given_maps import GivenMaps
from maskwise.evaluation.items import Target
from maskwise.evaluation.leaderboard import Leaderboard, leaderboard
from maskwise.evaluation.loader import Settings
from maskwise.evaluation.presets import chosen_metrics
from maskwise.evaluation.run import measure
from maskwise.explainers import explainer as by_name
from maskwise.explainers import methods
from maskwise.measures import Metric, metric
from maskwise.sess.sweep import AnyExplainer

TRUSTED = "trusted"  # as the study metric-trust recommends
Source = str | Path | DataSet
ExplainerSource = str | Path | GivenMaps | AnyExplainer
Explainers = Mapping[str, ExplainerSource] | Sequence[ExplainerSource]
MetricsLike = Mapping[str, Metric] | Sequence[str] | str


def compare(
    explainers: Explainers,
    data: Source | Sequence[Source],
    classifier: Classifier | None = None,
    metrics: MetricsLike = TRUSTED,
    *,
    target: Target = "predicted",
    resize: Resize = "squash",
    limit: int | None = None,
    batch: int = 8,
    skip_damaged: bool = False,
    missing: Literal["refuse", "skip"] = "refuse",
    out: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Leaderboard:
    """Explainers side by side on the same pictures: values with 95% intervals, and paired differences to the best.

    Args:
        explainers: by name: a method's name, an explainer or function ``(images, targets)``, or a folder of maps that
            anybody made (see ``GivenMaps``). A function with a parameter ``ids`` gets the pictures' ids, too. Or a list
            of these, which then are called by their own names.
        data: one or more sources as ``read_data`` takes them, or data sets; with boxes or masks for metrics that need
            them.
        classifier: what is explained; None is the one that the first explainer brings.
        metrics: names of metrics and presets as ``maskwise metrics`` lists them, in a list or with commas between; or
            metrics by name.
        target: the class explained: ``predicted``, ``label``, ``each`` class of a picture, or one for all pictures,
            by index, name or WordNet id.
        resize: ``squash`` to the input size, ``crop`` (shorter side, centre), or ``none``, which keeps each picture's
            own size.
        limit: only so many pictures of each data set, evenly spread over it.
        batch: pictures at once.
        skip_damaged: pass over pictures that can't be read, which ``protocol["damaged"]`` names; else the first is an
            error.
        missing: pictures that a folder has no map of are refused (``refuse``), or left out for all (``skip``).
        out: folder for ``rows.db``; what is there already is not computed again. None keeps nothing.
        progress: called with (done, total), in pictures times explainers.

    Returns:
        The leaderboard: ``plain()`` is all of it as plain data, ``cell(explainer, metric)`` one number.

    Raises:
        InputError: no classifier, an unknown name, two explainers of one name, or data that can't be read or measured.
    """
    classifier = _classifier_of(explainers, classifier)
    contenders = [Contender.of(name, made) for name, made in _named(explainers, classifier).items()]
    sources = [data] if isinstance(data, (str, Path, DataSet)) else data
    settings = Settings(resize, target, limit, batch, skip_damaged=skip_damaged, missing=missing)
    if not isinstance(metrics, Mapping):
        chosen = chosen_metrics(metrics)
        chosen.told(settings)
        metrics = {name: metric(name, classifier, **own) for name, own in chosen.options_in(settings).items()}
    measured = measure(
        contenders, classifier, [s if isinstance(s, DataSet) else str(s) for s in sources], metrics, settings,
        None if out is None else Path(out), progress=progress,
    )  # fmt: skip
    return leaderboard(measured)


def evaluate(
    explainer: ExplainerSource,
    data: Source | Sequence[Source],
    classifier: Classifier | None = None,
    metrics: MetricsLike = TRUSTED,
    **options: Any,
) -> Leaderboard:
    """One explainer on data, by all ``metrics``; arguments, result and errors as ``compare``.

    Example:
        >>> import maskwise as mw
        >>> board = mw.evaluate("center", "shapes:n=4", mw.load_classifier("efficientnet_lite0"), ["area"])
        >>> round(board.cell("center", "area").value, 2)
        0.5
    """
    return compare([explainer], data, classifier, metrics, **options)


def _classifier_of(explainers: Explainers, classifier: Classifier | None) -> Classifier:
    made = explainers.values() if isinstance(explainers, Mapping) else explainers
    for candidate in [classifier, *(getattr(one, "classifier", None) for one in made)]:
        if isinstance(candidate, Classifier):
            return candidate
    raise InputError("none of the explainers brings a classifier: name it, compare(explainers, data, classifier)")


def _named(explainers: Explainers, classifier: Classifier) -> dict[str, AnyExplainer]:
    if isinstance(explainers, Mapping):
        return {name: _made(one, classifier) for name, one in explainers.items()}
    found: dict[str, AnyExplainer] = {}
    for one in explainers:
        name = _name_of(one)
        if name in found:
            raise InputError(f"two explainers are called {name!r}: give them by name, as in {{'mine': …, 'theirs': …}}")
        found[name] = _made(one, classifier)
    return found


def _made(one: ExplainerSource, classifier: Classifier) -> AnyExplainer:
    """An explainer; a text is a method's name, or else a folder."""
    if isinstance(one, Path) or (isinstance(one, str) and one not in methods and Path(one).is_dir()):
        return GivenMaps(Path(one))
    return by_name(one, classifier) if isinstance(one, str) else one


def _name_of(explainer: ExplainerSource) -> str:
    if isinstance(explainer, str):
        return explainer
    if isinstance(explainer, (Path, GivenMaps)):
        return (explainer if isinstance(explainer, Path) else explainer.folder).name
    identity = getattr(explainer, "identity", {})
    if "sess" in identity and "function" not in identity["of"]:
        return f"{identity['of'].get('method', 'explainer')} + SESS"
    return str(identity.get("method") or getattr(explainer, "__name__", type(explainer).__name__))
