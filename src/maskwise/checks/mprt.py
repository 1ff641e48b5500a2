"""The model parameter randomisation test (Adebayo et al. 2018): do maps change when the network's weights do?"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor

from maskwise.checks.base import register_check
from maskwise.checks.intervals import UndefinedRule, mean_of
from maskwise.checks.layers import layers_from_the_top
from maskwise.checks.protocol import check_seed, comparison_protocol, versions
from maskwise.checks.randomise import initialisations, randomise, restored
from maskwise.checks.results import MODES, MprtResult, MprtRow, RandomisationMode
from maskwise.checks.rows import Values, as_float, parts_of
from maskwise.checks.similarity import Comparison, Measures, chosen_similarities, chunks
from maskwise.checks.subject import ProgressCallback, Subject, top_classes
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.modes import eval_mode
from maskwise.core.spread import evenly_spread
from maskwise.explainers.base import check_images
from maskwise.explainers.doubts import handed_on
from maskwise.sess.sweep import AnyExplainer


@register_check(
    "mprt",
    title="do maps change when the network's layers become random?",
    paper="Adebayo et al. 2018",
    trains=False,
)
def mprt(
    explainer: AnyExplainer,
    classifier: Classifier,
    images: Values,
    *,
    modes: Sequence[RandomisationMode] = MODES,
    init: str = "own",
    depth: int | None = 2,
    before_sigmoid: bool | None = None,
    targets: Tensor | None = None,
    measures: Measures = None,
    undefined: UndefinedRule = "zero",
    groups: Tensor | None = None,
    seed: int = 0,
    batch: int = 32,
    examples: int = 3,
    progress: ProgressCallback | None = None,
) -> MprtResult:
    """Compares maps of the trained network with maps of the same network with random layers.

    A masker's maps come from its own encoder, so that one's layers are randomised and its decoder stays; where a method
    reads the classifier and a masker, both lose the same layers. Afterwards all weights are what they were, bit by bit.

    Args:
        explainer: any (images, targets) -> maps that reads ``classifier`` when it is called.
        classifier: the trained one.
        images: (N,C,H,W) in [0,1], RGB unless the classifier takes others, or uint8 as ``pictures`` gives them; few at
            once are in memory.
        modes: ``cascading`` from the output back to the input, ``independent`` one layer at a time, or both.
        init: new weights by the module's ``own`` rule, or as the ``released`` code of Phang et al. draws them.
        depth: layers are blocks of modules that share so many parts of their name; None is every module.
        before_sigmoid: compare a masker's logits, as the released code does; None does so wherever the
            mask is made of them place by place (see ``Subject.of``).
        targets: (N,) classes that are explained; None is the trained classifier's top class at every stage.
        measures: names of similarities, or similarities by name; None is all that are registered.
        undefined: a flat map that is compared with another one counts ``zero``, or is ``left_out`` (released code).
        groups: (N,) int64: pictures of one number, as of one patient, are drawn together for intervals (see
            ``subject_numbers``); None is each by itself.
        seed: of new weights and of the intervals.
        batch: pictures at once.
        examples: how many pictures, evenly spread, are kept with their maps, to be looked at.
        progress: called with (done, total), in stages of each part of the pictures.

    Raises:
        InputError: images, a mode, a rule or a similarity that there is not; or maps that hold NaN.

    Example:
        >>> result = mprt(mw.explainer("grad_cam", classifier), classifier, images)  # doctest: +SKIP
        >>> result.rows[0].value.mean                                                # doctest: +SKIP
        0.31
    """
    if isinstance(images, Tensor) and images.dtype != torch.uint8:
        check_images(images, classifier.channels)
    check_seed(seed)
    if not modes or any(mode not in MODES for mode in modes):
        raise InputError(f"modes are {' and '.join(MODES)}, not {', '.join(map(str, modes)) or 'none'}")
    modes = list(dict.fromkeys(modes))
    initialisations.get(init)
    subject = Subject.of(explainer, classifier, before_sigmoid)
    compared = chosen_similarities(measures, subject.logits)
    network = subject.network
    networks = (network, *subject.beside)
    found: dict[tuple[RandomisationMode, str, str], list[Tensor]] = {}
    kept: dict[str, list[Tensor]] = {mode: [] for mode in modes}
    parts, shown = chunks(images, batch), evenly_spread(len(images), examples)
    with eval_mode(network):
        example = network.example().to(network.dtype)
        layers = layers_from_the_top(network.module, example, depth)
        total, done = len(modes) * len(layers) * len(parts), 0
        for rows, part in zip(parts, parts_of(images, parts), strict=True):
            classes = top_classes(classifier, part, batch) if targets is None else targets[rows]
            trained = subject.maps(part, classes, batch)
            comparison = Comparison(trained, compared)
            here = [i - int(rows[0]) for i in shown if rows[0] <= i <= rows[-1]]
            for mode in modes:
                stages = [trained[here]]
                with ExitStack() as held:
                    backs = [held.enter_context(restored(one.module)) for one in networks]
                    for layer in layers:
                        for one, back in zip(networks, backs, strict=True):
                            if mode == "independent":
                                back()
                            randomise(one.module, layer, init, seed)
                        with handed_on():  # what is odd about maps of random weights is counted, and no advice
                            maps = subject.maps(part, classes, batch)
                        for name, values in comparison(maps).items():
                            found.setdefault((mode, layer.name, name), []).append(values)
                        stages.append(maps[here])
                        done += 1
                        if progress is not None:
                            progress(done, total)
                kept[mode].append(torch.stack(stages))
    table = [MprtRow(*key, mean_of(torch.cat(values), undefined, seed, groups)) for key, values in found.items()]
    protocol = {
        "check": "mprt",
        "explainer": subject.identity,
        "classifier": classifier.name,
        "fingerprint": classifier.fingerprint(),
        "randomised": ("the classifier" if network is classifier else "the masker's encoder")
        + (" and, likewise, the encoder of the masker within the method" if subject.beside else ""),
        "layers": {layer.name: list(layer.modules) for layer in layers},
        "depth": depth,
        "init": init,
        "pictures": len(images),
        "size": list(images.shape[-2:]),
        "target": "the trained classifier's top class at every stage" if targets is None else "given",
        **comparison_protocol(subject, compared, undefined, groups),
        "seed": seed,
        "versions": versions(),
    }
    maps_shown = {mode: torch.cat(pieces, 1) for mode, pieces in kept.items()}
    return MprtResult(table, [layer.name for layer in layers], as_float(images[shown]).cpu(), maps_shown, protocol)
