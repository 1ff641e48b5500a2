"""What failed, in plain words; no score."""

from __future__ import annotations

from collections.abc import Sequence

from maskwise.audit.finding import Criterion, Listing, Section
from maskwise.core.text import first_few

DECIDING = ("accuracy", "evidence", "shortcut", "sanity")  # parts whose criteria say whether maps are fit to be shown


def criteria_of(sections: Sequence[Section]) -> list[Criterion]:
    return [criterion for section in sections for criterion in section.criteria]


def fit_to_show(criteria: Sequence[Criterion], left_out: Sequence[str] = ()) -> tuple[bool | None, str]:
    """Are its explanations fit to be shown to a user? No where a criterion of the explainer fails, the evidence lies
    off the object, or the answers are no better than one and the same; not known where one of these is not.

    Args:
        criteria: of all parts.
        left_out: parts that were not asked for.

    Returns:
        (yes, no or not known; a sentence that says why)
    """
    deciding = [one for one in criteria if one.of_explainer or one.name in ("evidence", "accuracy")]
    failed = [one for one in deciding if one.holds is False]
    if failed:
        return False, "no, because " + "; ".join(f"{_failing(one)} ({one.figure})" for one in failed)
    # A leak that is not shown is no reason against: an audit is too short to decide each one.
    unknown = [one for one in deciding if one.holds is None and one.name != "leak"]
    why = [f"{one.question} {one.figure}" for one in unknown]
    why += [f"{name} was not asked for" for name in left_out if name in DECIDING]
    if why:
        return None, "not known: " + "; ".join(why)
    return True, "yes, as far as this audit looks: the explainer passed its controls, and the evidence is on the object"


def _failing(criterion: Criterion) -> str:
    return {
        "accuracy": "what is explained is no better than one and the same answer",
        "shortcut": "its maps would not show a shortcut",
        "mprt": "its maps are much the same for a network that has learned nothing",
        "stability": "its maps change where the picture hardly does",
        "evidence": "its evidence is not on the object",
        "leak": "its masks tell their own judge the class by their shape",
    }[criterion.name]


def verdict_section(sections: Sequence[Section], left_out: Sequence[str] = ()) -> Section:
    """All criteria, those that fail first; ``left_out`` names parts that were not asked for."""
    section = Section("verdict", "Verdict")
    criteria = criteria_of(sections)
    order = {False: 0, None: 1, True: 2}
    words = {False: "fails", None: "not known", True: "holds"}
    answer, why = fit_to_show(criteria, left_out)
    failed, unknown = ([one.name for one in criteria if one.holds is state] for state in (False, None))
    counted = f"{_counted(failed, 'fails', 'fail')}, and {_counted(unknown, 'is not known', 'are not known')}"
    section.says = [
        f"Of {len(criteria)} questions {counted}." if criteria else "No question was asked that holds or fails.",
        f"Are its explanations fit to show to a user? {why[0].upper()}{why[1:]}.",
    ]
    if left_out:
        section.says.append(f"This is a part of an audit. Not asked for: {', '.join(left_out)}.")
    if any(one.name == "shortcut" and one.holds is False for one in criteria):
        section.says.append("The explainer failed its positive control: what is said of evidence below may miss much.")
    evidence = [one.numbers for one in sections if one.name == "evidence"]
    doubtful = [each["class"] for found in evidence for each in found.get("classes", []) if not (each["low"] or 0) > 1]
    if doubtful:
        whose = "it" if len(doubtful) == 1 else "them"
        section.says.append(
            f"Look at the pictures of {first_few(doubtful)}: for {whose} the evidence is not surely on the object, as "
            "where a class has a shortcut."
        )
    section.tables.append(
        Listing(
            ["", "question", "figure, 95% interval"],
            [[words[one.holds], f"{one.question} ({one.name})", one.figure]
             for one in sorted(criteria, key=lambda one: order[one.holds])],
        )
    )  # fmt: skip
    section.numbers = {"fit_to_show": answer, "why": why, "failed": failed, "not_known": unknown}
    return section


def _counted(names: Sequence[str], one: str, several: str) -> str:
    if not names:
        return f"none {one}"
    return f"{len(names)} {one if len(names) == 1 else several} ({', '.join(names)})"
