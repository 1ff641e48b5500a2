"""An audit from end to end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import maskwise
from maskwise.audit.accuracy import accuracy_section
from maskwise.audit.against import against_section
from maskwise.audit.errors import errors_section
from maskwise.audit.evidence import evidence_section
from maskwise.audit.finding import Criterion, Section
from maskwise.audit.finding_reliance import background_section
from maskwise.audit.limits import Limits, part_of, parts_asked
from maskwise.audit.sanity import sanity_section
from maskwise.audit.shortcut import shortcut_section
from maskwise.audit.spurious import spurious_section
from maskwise.audit.subject import Audited, AuditPlan, Told, collect, question_of
from maskwise.audit.verdict import criteria_of, verdict_section
from maskwise.classifiers import Classifier
from maskwise.classifiers.one_finding import OneFinding
from maskwise.core.errors import InputError
from maskwise.core.files import check_writable
from maskwise.core.options import BY_NETWORK
from maskwise.data import DataSet
from maskwise.explainers import explainer as by_name
from maskwise.explainers import methods
from maskwise.explainers.base import Explainer
from maskwise.explainers.first_choice import ASKING, WITH_MASKER, first_choice
from maskwise.sess import SESS
from maskwise.sess.sweep import AnyExplainer

SECTIONS: dict[str, Callable[[Audited], Section]] = {
    "accuracy": accuracy_section, "errors": errors_section, "evidence": evidence_section,
    "background": background_section, "spurious": spurious_section,
    "shortcut": shortcut_section, "sanity": sanity_section,
}  # fmt: skip


@dataclass
class Audit:
    """What was found.

    Attributes:
        sections: the verdict first, then one a question.
        stamp: what was audited, by what, and what was not done.
        out: where page, JSON, CSV and pictures lie.
    """

    sections: list[Section]
    stamp: dict[str, Any]
    out: Path

    @property
    def criteria(self) -> list[Criterion]:
        return criteria_of(self.sections)

    @property
    def failed(self) -> list[str]:
        """Names of the criteria that fail."""
        return [one.name for one in self.criteria if one.holds is False]

    @property
    def fit_to_show(self) -> bool | None:
        """Are its explanations fit to be shown to a user? None: not known."""
        answer: bool | None = self.sections[0].numbers["fit_to_show"]
        return answer

    def plain(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {
            "stamp": self.stamp,
            "criteria": [asdict(one) for one in self.criteria],
            "sections": {
                one.name: {"says": one.says, "not_done": one.not_done, **one.numbers} for one in self.sections
            },
        }


def audit(
    classifier: Classifier,
    data: str | Path | DataSet | Sequence[str | Path | DataSet],
    explainer: str | AnyExplainer | None = None,
    *,
    finding: int | str | None = None,
    out: str | Path = "audit",
    compare_with: Classifier | None = None,
    limit: int | None = None,
    limits: Limits | None = None,
    parts: str | Sequence[str] | None = None,
    fill: str = "telea",
    seed: int = 0,
    batch: int = 8,
    skip_damaged: bool = False,
    progress: Told | None = None,
    on_part: Callable[[str], None] | None = None,
) -> Audit:
    """Can this classifier be trusted, and its explanations? Writes nothing but rows and pictures; see ``write_audit``.

    Args:
        classifier: a network that names one of several classes (softmax), or has findings (sigmoid), of which one is
            audited as a question with two answers. Maps are then of the finding, of every picture.
        data: one or more sources as ``read_data`` takes them, or data sets; labels and boxes or masks where there are.
        explainer: a method's name, or any (images, targets) -> maps. None, or ``auto``, is the first that this network
            allows (see ``first_choice``).
        finding: which one, by index or name; may be left out where there is one output. A function gets it as target 1.
        out: folder for rows and pictures; a killed audit goes on from there.
        compare_with: another checkpoint, that is asked about the same pictures.
        limit: only so many pictures of each data set, evenly spread.
        limits: bounds of the criteria.
        parts: only these of accuracy, errors, evidence, background, spurious, shortcut and sanity, for an audit that
            takes less time; what was not asked is not known. None is all.
        fill: infiller of hidden objects and backgrounds.
        seed: of patches, noise, random weights and intervals.
        batch: pictures at once.
        skip_damaged: pass over pictures that can't be read.
        progress: called with (done, total) pictures.
        on_part: called with the name of each part as it begins.

    Raises:
        InputError: a network without classes of which one is named and without findings, no such finding, an
            explainer that was made for the network rather than for its finding, an unknown method or part, or data
            that can't be read.
    """
    asked_for = parts_asked(parts)
    out = Path(out)
    check_writable(out)
    given = [data] if isinstance(data, (str, Path, DataSet)) else list(data)
    sources = [one if isinstance(one, DataSet) else str(one) for one in given]
    tell = on_part or (lambda _name: None)
    asked = question_of(classifier, finding)
    if asked is not classifier and isinstance(explainer, (Explainer, SESS)):
        raise InputError(
            "an explainer that is made for a network explains the network's classes: give the method's name, or make "
            "it for maskwise.classifiers.one_finding.OneFinding(network, finding), and audit that"
        )
    classifier = asked
    method, made = chosen(classifier, explainer)
    tell("pictures")
    plan = AuditPlan(limit, limits or Limits(), fill, seed, batch, skip_damaged, progress)
    audited = collect(classifier, made, method, sources, out, plan)
    sections: list[Section] = []
    for name in asked_for:
        tell(name)
        sections.append(SECTIONS[name](audited))
    if compare_with is not None:
        tell("other checkpoint")
        sections.append(against_section(*_both(audited, _same_question(compare_with, classifier))))
    classes = classifier.source if isinstance(classifier, OneFinding) else classifier.labels
    stamp = {
        "maskwise": maskwise.__version__, "torch": torch.__version__, "classifier": classifier.name,
        "fingerprint": classifier.fingerprint(), "classes": len(classes),
        "finding": audited.finding, "input_size": list(classifier.size),
        "activation": classifier.activation if audited.finding is None else "sigmoid",
        "method": method, "why_method": _why(method) if explainer in (None, BY_NETWORK) else "as asked",
        "data": {name: len(keys) for name, keys in audited.measured.pictures.items()}, "pictures": len(audited),
        "labelled": int(audited.labelled.sum()), "with_objects": int((~audited.rows("objects").isnan().any(1)).sum()),
        "fill": fill, "seed": seed, "limits": asdict(plan.limits),
        "subjects": audited.measured.subjects_in_words(),
        "left_out": {name: len(those) for name, those in audited.measured.damaged.items()},
        "warnings": audited.measured.warnings(None if audited.finding is None else audited.shown),
        "not_done": _not_done(sections, compare_with),
    }  # fmt: skip
    verdict = verdict_section(sections, [name for name in SECTIONS if name not in asked_for])
    return Audit([verdict, *sections], stamp, out)


def chosen(classifier: Classifier, explainer: str | AnyExplainer | None) -> tuple[str, AnyExplainer]:
    """Name and explainer.

    Raises:
        InputError: an unknown method, or none that the network allows.
    """
    if explainer is None or explainer == BY_NETWORK:
        explainer = first_choice(classifier)
    if isinstance(explainer, str):
        return explainer, by_name(explainer, classifier)
    return _name_of(explainer), explainer


def _not_done(sections: Sequence[Section], compare_with: Classifier | None) -> dict[str, str]:
    """What this audit does not say, and why, by the name of the part."""
    found = {one.name: one.not_done for one in sections if one.not_done is not None}
    found |= {name: "it was not asked for" for name in SECTIONS if name not in [one.name for one in sections]}
    if "sanity" not in found and "leak" not in [one.name for one in criteria_of(sections)]:
        found["leak"] = "these maps are of no trained masker"
    if compare_with is None:
        found["other checkpoint"] = "none was given to compare with"
    return found


def _name_of(explainer: AnyExplainer) -> str:
    return methods.name_of(type(explainer)) or str(getattr(explainer, "__name__", type(explainer).__name__))


def _why(method: str) -> str:
    if method == WITH_MASKER:
        return "the packaged masker, which was trained on this very classifier"
    if method == ASKING:
        return f"a black box shows neither layers nor gradients; {method} only asks it"
    return f"no packaged masker is of this classifier; {method} is the first method that it allows"


def _same_question(other: Classifier, asked: Classifier) -> Classifier:
    """Another network, asked what the first one is."""
    if isinstance(other, OneFinding) or not isinstance(asked, OneFinding):
        return question_of(other)
    return question_of(other, None if other.is_paired else asked.source.nameable(asked.finding))


def _both(audited: Audited, other: Classifier) -> tuple[Audited, Audited]:
    """Rows of both by one method: the audit's own, or Grad-CAM where that one belongs to a single classifier."""
    if tuple(other.labels.names) != tuple(audited.classifier.labels.names):
        raise InputError(
            f"{other.name} has other classes than {audited.classifier.name}: their answers can't be compared"
        )

    def asked(classifier: Classifier, method: str, out: Path) -> Audited:
        return collect(classifier, by_name(method, classifier), method, audited.sets, out, audited.plan)

    folder = audited.out / "other"
    try:
        return audited, asked(other, audited.method, folder)
    except InputError:
        return asked(audited.classifier, "grad_cam", audited.out), asked(other, "grad_cam", folder)


def which_cannot_fail(found: Audit, names: Sequence[str]) -> list[str]:
    """A line for each of these criteria that can't fail here, since it is not known."""
    known = {one.name: one for one in found.criteria}
    lines = []
    not_done = found.stamp["not_done"]
    for name in names:
        left_out = not_done.get(part_of(name), "it was not asked")
        why = known[name].figure if name in known else not_done.get(name, left_out)
        if name not in known or known[name].holds is None:
            lines.append(f"{name} is not known, so it does not fail: {why}")
    return lines
