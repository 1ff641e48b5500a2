"""Does a masker's mask give the class away by its shape?"""

from __future__ import annotations

from typing import Any

from maskwise.audit.finding import Criterion, Interval, Section, too_few
from maskwise.audit.parts import kept
from maskwise.audit.subject import Audited, plain_identity
from maskwise.checks.intervals import MeanInterval
from maskwise.checks.leak import leak
from maskwise.checks.leak_result import LEAK_WORDS, answer_of, deciding
from maskwise.checks.pictures import classified
from maskwise.checks.robust_judge import SETTINGS, robust_judge
from maskwise.core.connected import or_alone
from maskwise.core.errors import InputError
from maskwise.explainers.doubts import handed_on
from maskwise.explainers.masker import MaskerExplainer

MOST, LEAST = 336, 60  # labelled pictures, every third of which is held out; fewer than these say nothing
EPOCHS, SIDE = 4, 144  # of the robust judge, and what it sees at most: pixels
_QUESTION = "Do the masks keep the class out of their shape?"


def leak_part(audited: Audited, section: Section) -> None:
    """Adds the leak check to a section where the maps are a masker's; other methods train nothing that could leak."""
    if not isinstance(audited.explainer, MaskerExplainer):
        return
    numbers = kept(audited.out, "leak", plain_identity(audited), lambda: measured(audited))
    section.numbers["leak"] = numbers
    if "why" in numbers:
        section.criteria.append(Criterion("leak", _QUESTION, None, str(numbers["why"]), of_explainer=True))
        section.says.append(f"Whether the masks' shape gives the class away was not asked: {numbers['why']}.")
        return
    gaps = {name: MeanInterval.of_plain(value) for name, value in numbers["gaps"].items()}
    borrowed, bound = MeanInterval.of_plain(numbers["borrowed"]), audited.plan.limits.leak
    subjects = numbers.get("subjects")  # a part of before they were counted has none
    answer = answer_of(gaps, borrowed, bound, numbers["test"] if subjects is None else subjects)
    holds = {"leaks": False, "none found": True}.get(answer)
    least = deciding(gaps, bound)
    gap = Interval(least.mean, least.low, least.high, numbers["test"], subjects)
    figure = f"gap {gap.text()}, at most {bound:g}{too_few(gap)}"
    section.criteria.append(Criterion("leak", _QUESTION, holds, figure, True))
    section.says.append(
        f"A judge that has seen random holes alone was trained on {numbers['train']} of the pictures and asked about "
        f"{numbers['test']} others beside the masker's own judge. On what the masks keep the own one is ahead by "
        f"{gap.text()} in accuracy, less what it is ahead by on squares or blobs of the same area: {answer}, that is "
        f"{LEAK_WORDS[answer]}. `maskwise check leak` asks it of more pictures, with a longer training."
    )


def measured(audited: Audited) -> dict[str, Any]:
    """Gaps and borrowed masks in plain data, or why there are none."""
    classifier, seed = audited.classifier, audited.plan.seed
    classes = len(classifier.labels)
    sets = [one.filter(lambda record: record.label is not None and 0 <= record.label < classes) for one in audited.sets]
    sets = [one for one in sets if len(one)]
    if sum(min(len(one), audited.at_most(MOST)) for one in sets) < LEAST:
        return {"why": f"fewer than {LEAST} pictures have a label"}
    data = classified(sets, classifier, audited.at_most(MOST // len(sets)), skip_damaged=True)
    held_out = or_alone(data.groups, len(data)) % 3 == 2
    if not held_out.any():
        return {"why": "all pictures are of one or two subjects: none would be left to test the judge on"}
    train, test = (data.subset(part.nonzero()[:, 0]) for part in (~held_out, held_out))
    try:
        with handed_on():
            judge = robust_judge(
                classifier, train, SETTINGS.model_copy(update={"epochs": EPOCHS, "seed": seed}),
                size=min(SIDE, classifier.input_size), folder=audited.out / "parts" / "judges",
                device=classifier.device,
            )  # fmt: skip
            found = leak({audited.method: audited.explainer}, classifier, judge.classifier, test, probe=None, seed=seed,
                         batch=audited.plan.batch)  # fmt: skip
    except InputError as error:
        return {"why": str(error)}
    plain = found.summaries[0].plain()
    subjects = None if test.groups is None else len(test.groups.unique())
    return {
        "gaps": plain["gaps"], "borrowed": plain["borrowed"], "train": len(train), "test": len(test),
        "subjects": subjects,
    }  # fmt: skip
