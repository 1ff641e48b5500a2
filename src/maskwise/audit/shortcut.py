"""A positive control: would this explainer show a shortcut, if the classifier took one?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from maskwise.audit.figures import pictures_figure
from maskwise.audit.finding import Criterion, Figure, Interval, Section, too_few
from maskwise.audit.parts import kept
from maskwise.audit.subject import Audited, Ratio, estimated, plain_identity
from maskwise.checks.randomise import restored
from maskwise.checks.rows import as_float
from maskwise.checks.subject import Subject
from maskwise.classifiers import Classifier
from maskwise.classifiers.class_activation import last_layer
from maskwise.classifiers.one_finding import THERE
from maskwise.core.connected import of_rows, or_alone
from maskwise.core.modes import eval_mode
from maskwise.core.own_thread import in_this_thread
from maskwise.core.text import how_many
from maskwise.explainers.doubts import handed_on
from maskwise.images import load_image, packaged_pictures, resize
from maskwise.measures.energy import energy_inside

PART = 4  # the patch's side is a quarter of the picture's: a sixteenth of its area
MOST, TESTED, SHOWN, LEAST = 360, 48, 4, 24  # pictures in all, of them held out, of them drawn; fewer are too few
LEARNED, SPARED = 0.8, 0.1  # held-out pictures with the patch that get its class, and without it
PHOTOGRAPHS = ("coffee", "cat", "flower")  # tried in turn; those that last layers of 10 and 1000 classes told best
DECAY = 1e-2
_QUESTION = "Would the explainer show a shortcut?"
_SEEN = {
    True: "So a shortcut of this kind would show in the maps.",
    False: "This explainer can't see shortcuts here. That its maps lie on objects says little: read all that follows "
    "accordingly, or take a method that follows the class that is asked for, such as grad_cam.",
    None: "Whether a shortcut of this kind would show in the maps is not known.",
}


def shortcut_section(audited: Audited) -> Section:
    """The last layer learns a class by a patch alone; the class's map must then lie on the patch."""
    section = Section("shortcut", "Positive control: a planted shortcut")
    path = audited.out / "pictures" / "shortcut.png"
    identity = plain_identity(audited) | {"photographs": PHOTOGRAPHS}
    numbers = kept(audited.out, "shortcut", identity, lambda: planted(audited), [path])
    section.numbers = numbers
    if "why" in numbers:
        section.not_done = str(numbers["why"])
        section.criteria.append(Criterion("shortcut", _QUESTION, None, section.not_done, of_explainer=True))
        return section
    there, without = (Interval.of_plain(numbers[key]) for key in ("lift", "lift_without"))
    bound = audited.plan.limits.shortcut
    seen = None if there.too_few else there.low > bound and there.low > without.value
    absent = numbers["pictures_of_class"] == 0
    section.says = [
        f"The last layer was taught for a while that a small photograph ({numbers['photograph']}), a sixteenth of the "
        f"picture and anywhere in it, means {numbers['class']!r}, {_which(audited, absent)}. "
        f"Of {there.count} pictures held out "
        f"it says so of {100 * numbers['with_patch']:.0f}% with the patch, {100 * numbers['without_patch']:.0f}% "
        "without.",
        f"With the patch {there.text(1)} times as much of that class's map lies on it as of a map that is the same "
        f"everywhere; at the same places without it {without.text(1)}.",
        _SEEN[seen],
    ]
    figure = f"lift {there.text(1)} on the patch, surely above {bound:g}{too_few(there)}"
    section.criteria.append(Criterion("shortcut", _QUESTION, seen, figure, of_explainer=True))
    section.figures.append(Figure(path, "Pictures with the patch, and maps of the class that it was made to mean"))
    return section


def _which(audited: Audited, absent: bool) -> str:
    if audited.finding is not None:
        return "which goes without a row of its own meanwhile"
    if absent:
        return "a class of which there is no picture here"
    return "the class of fewest pictures here, which now goes without a row of its own"


def planted(audited: Audited) -> dict[str, Any]:
    """Teaches, explains, and draws some; ``why`` says what could not be done."""
    classifier = audited.classifier
    subject = Subject.of(audited.explainer, classifier, before_sigmoid=False)
    networks = list({id(one): one for one in (classifier, subject.network)}.values())
    for network in networks:  # first, for more pictures would not help
        if last_layer(network) is None:
            return {"why": f"{network.name} has no last linear layer that could be taught"}
    images, groups = audited.drawn(audited.sets, MOST)
    if len(images) < LEAST:
        return {
            "why": f"{how_many(len(images), 'picture')} can't teach a shortcut and test it: it takes at least {LEAST}"
        }
    held = or_alone(groups, len(images)) % 3 == 0
    if held.all():
        return {"why": "all pictures are of one subject: none would be left to test what was taught"}
    test = as_float(images[held.nonzero()[:TESTED, 0]]).to(classifier.device)
    teach = as_float(images[(~held).nonzero()[:, 0]]).to(classifier.device)
    draws = torch.Generator().manual_seed(audited.plan.seed)
    label, own = absent_class(audited, draws)
    if audited.finding is not None:  # its absence has no evidence that a map could show
        label, own = THERE, int(audited.shown.sum())
    tried = []
    for photograph in PHOTOGRAPHS:
        (patched, where), (lessons, _) = (with_patch(x, draws, photograph) for x in (test, teach))
        with ExitStack() as changed:
            for network in networks:
                changed.enter_context(taught(network, teach, lessons, label))
            hit, missed = (_said(classifier, x, label) for x in (patched, test))
            if learned := hit >= LEARNED and missed <= SPARED:
                with handed_on():
                    targets = torch.full((len(test),), label)
                    maps = [subject.maps(x, targets, 8) for x in (patched, test)]
        if learned:
            break
        tried.append(f"{photograph}: {100 * hit:.0f}% with it, {100 * missed:.0f}% without")
    else:
        return {
            "why": f"its last layer alone did not learn a patch, for its features do not tell it ({'; '.join(tried)})"
        }
    area = where.double().mean((1, 2))
    whose = of_rows(groups, held.nonzero()[:TESTED, 0])
    shares = [torch.stack([energy_inside(one, where).double(), area], 1) for one in maps]
    lifts = [estimated(rows, Ratio(), audited.plan.seed, whose) for rows in shares]
    lines = [
        [("with the patch", patched[i].cpu()), ("map", maps[0][i]), ("without", test[i].cpu()), ("map", maps[1][i])]
        for i in range(min(SHOWN, len(test)))
    ]
    pictures_figure(lines, audited.out / "pictures" / "shortcut.png")
    names = ("lift", "lift_without")
    return {"class": audited.name(label), "pictures_of_class": own, "photograph": photograph,
            "with_patch": hit, "without_patch": missed,
            **{name: one.plain() for name, one in zip(names, lifts, strict=True)}}  # fmt: skip


def absent_class(audited: Audited, draws: torch.Generator) -> tuple[int, int]:
    """A class that no picture has or gets, or else the rarest; and how many have or get it."""
    count = torch.bincount(audited.top, minlength=len(audited.classifier.labels))
    count += torch.bincount(audited.labels[audited.labelled], minlength=len(count))
    rarest = (count == count.min()).nonzero()[:, 0]
    return int(rarest[int(torch.randint(len(rarest), (1,), generator=draws))]), int(count.min())


def with_patch(images: Tensor, draws: torch.Generator, photograph: str = PHOTOGRAPHS[0]) -> tuple[Tensor, Tensor]:
    """Copies of images (N,C,H,W) with a packaged photograph, made small, at a drawn place, and where it is, (N,H,W)
    bool, on the CPU.

    A photograph and not a plain pattern, since the network must have features for it: of a chequered patch of that size
    the last layer of ``efficientnet_lite0`` learned nothing that held for other pictures.
    """
    count, channels, height, width = images.shape
    side = max(min(height, width) // PART, 4)
    path = next(path for path in packaged_pictures() if path.stem == photograph)
    patch = resize(load_image(path)[None], side)[0].to(images)
    patch = patch if channels == 3 else patch.mean(0, keepdim=True).expand(channels, -1, -1)
    changed, where = images.clone(), torch.zeros(count, height, width, dtype=torch.bool)
    tops = torch.randint(height - side + 1, (count,), generator=draws).tolist()
    lefts = torch.randint(width - side + 1, (count,), generator=draws).tolist()
    for i, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        changed[i, :, top : top + side, left : left + side] = patch
        where[i, top : top + side, left : left + side] = True
    return changed, where


@contextmanager
def taught(classifier: Classifier, clean: Tensor, patched: Tensor, label: int) -> Iterator[None]:
    """While open, the last layer's row of class ``label`` tells ``patched`` pictures from ``clean`` ones; afterwards it
    is what it was, bit by bit.

    All other rows stay. The row is the linear probe of what the last layer reads (``probe``), stretched until three
    standard deviations of the others' part, log sum exp of their logits, weigh less than a usual answer of the probe.
    """
    head = last_layer(classifier)
    assert head is not None
    read, logits = zip(*(_read(classifier, head, images) for images in (clean, patched)), strict=True)
    features, scores = torch.cat(read).double(), torch.cat(logits).double()
    wanted = torch.cat([features.new_zeros(len(clean)), features.new_ones(len(patched))])
    weight, bias = probe(features, wanted)
    others = scores.index_fill(1, torch.tensor([label], device=scores.device), -torch.inf).logsumexp(1)
    gain = max(1.0, float(3 * others.std() / (features @ weight + bias).abs().median().clamp(min=1e-6)))
    with restored(classifier.module), torch.no_grad():
        head.weight[label] = (gain * weight).reshape(head.weight[label].shape).to(head.weight)
        if head.bias is not None:
            head.bias[label] = (gain * bias + others.mean()).to(head.bias)
        yield


def probe(features: Tensor, wanted: Tensor, decay: float = DECAY) -> tuple[Tensor, Tensor]:
    """Weight (D,) and bias () of the logistic regression of ``wanted`` (N,) in {0,1} on ``features`` (N,D), float64.

    It is convex; LBFGS solves it, with the squared length of the weight on features of unit variance times ``decay``.
    """
    middle, spread = features.mean(0), features.std(0).clamp(min=1e-6)
    inputs = (features - middle) / spread
    weight = torch.zeros(inputs.shape[1], dtype=torch.float64, device=inputs.device, requires_grad=True)
    bias = torch.zeros((), dtype=torch.float64, device=inputs.device, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weight, bias], max_iter=500, tolerance_grad=1e-9, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        solver.zero_grad()
        said = binary_cross_entropy_with_logits(inputs @ weight + bias, wanted)
        value = said + decay * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        solver.step(loss)
    row = (weight / spread).detach()
    return row, bias.detach() - row @ middle


def _said(classifier: Classifier, images: Tensor, label: int) -> float:
    """The share of images (N,C,H,W) that are said to be of a class."""
    with eval_mode(classifier), torch.no_grad():
        return float((classifier.logits(classifier.prepare(images)).argmax(1) == label).double().mean())


def _read(classifier: Classifier, head: torch.nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """What the last layer reads, averaged over places (N,D), and logits (N,K)."""
    read: list[Tensor] = []
    hook = head.register_forward_pre_hook(in_this_thread(lambda _module, given: read.append(given[0].detach())))
    try:
        with eval_mode(classifier), torch.no_grad():
            logits = torch.cat([classifier.logits(classifier.prepare(part)) for part in images.split(16)])
    finally:
        hook.remove()
    features = torch.cat(read)
    return features if features.ndim == 2 else features.flatten(2).mean(2), logits
