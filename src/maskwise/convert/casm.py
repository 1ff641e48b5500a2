"""Checkpoints of CASM (Zolna, Geras, Cho 2020) and of its fork by Phang, Park, Geras (2021) as maskers of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from maskwise.classifiers import Classifier, load_classifier
from maskwise.convert.checkpoint import arguments, read_checkpoint
from maskwise.core.errors import InputError
from maskwise.core.files import atomic_write
from maskwise.core.seal import save_sealed
from maskwise.core.weights import built_with, fill, number_of_rows
from maskwise.labels import imagenet_labels
from maskwise.maskers import Masker, save_masker
from maskwise.maskers.decoder import FirstTap
from maskwise.maskers.finish import Finish

ENCODER = "torchvision/resnet50"
RESNET_TAPS = (64, 256, 512, 1024, 2048)  # channels
DECODERS = ("state_dict_masker", "state_dict_decoder")  # Phang et al., CASM
PROJECTION = re.compile(r"conv1x1_([0-4])\.(\d)\.(\w+)")
HEADS = {"final.0.": "none", "final.conv.": "hard"}  # the last convolution, by how a masker ends
UNKNOWN = {"add_prob_layers": "an area prior", "add_class_ids": "class numbers"}


@dataclass(frozen=True)
class Converted:
    """What was written.

    Attributes:
        masker: the masker's file.
        classifier: the network that it reads, beside it; None where a pretrained one was given.
        taps: which of the encoder's taps the decoder reads, counted from the finest (0).
    """

    masker: Path
    classifier: Path | None
    taps: tuple[int, ...]


def convert(old: str | Path, new: str | Path, pretrained: str | Path | None = None) -> Converted:
    """Writes a released checkpoint (``.chk``) as ``masker.safetensors``.

    The masks are those of the released code: tap 0 is read as it is, the others through 1x1 convolutions, and the last
    layer's output is enlarged four times. The network that the masker was trained with, which for CASM and CA differs
    from every pretrained one, is written beside it as ``NAME.classifier.safetensors``; explain with ``--classifier
    torchvision/resnet50 --weights`` that file.

    Args:
        old: the checkpoint.
        new: ends in .safetensors.
        pretrained: weights of the ResNet-50 that the masker is to be used with instead, such as the one its training
            began from; the checkpoint's own network then goes into the masker's file as its encoder.

    Raises:
        InputError: a file that is not such a checkpoint, or asks for more than tensors and plain data; a masker with
            inputs that the papers do not use; ``new`` can't be written.
    """
    new = Path(new)
    if new.suffix != ".safetensors":
        raise InputError(f"{new}: a masker's file ends in .safetensors")
    checkpoint = read_checkpoint(old)
    settings = arguments(checkpoint)
    network, decoder = _state(checkpoint, ("state_dict_classifier",), old), _state(checkpoint, DECODERS, old)
    taps, first_tap, gumbel = _structure(decoder, settings, str(old))
    encoder = _classifier(network, str(old))
    finish = Finish(cast(Any, gumbel), _temperature(settings))
    masker = Masker.build(encoder, first_tap, 64, taps, finish=finish)
    masker.encoder = encoder
    fill(masker.decoder, _renamed(decoder, taps), f"{old}: the decoder is not the released code's")
    masker.eval().requires_grad_(False)
    recipe = {
        "kind": "mask", "title": "converted", "paper": _paper(checkpoint), "classifier": ENCODER,
        "first_tap": first_tap, "width": 64, "taps": list(taps), "gumbel": gumbel, "temperature": finish.temperature,
        "arguments": settings,
    }  # fmt: skip
    if pretrained is not None:
        save_masker(new, masker, load_classifier(ENCODER, pretrained), recipe)
        return Converted(new, None, taps)
    beside = new.with_name(f"{new.stem}.classifier.safetensors")
    with atomic_write(beside) as temporary:
        save_sealed(temporary, encoder.module.state_dict(), {"format": "pt"})
    save_masker(new, masker, encoder, recipe)
    return Converted(new, beside, taps)


def _state(checkpoint: Mapping[str, Any], names: tuple[str, ...], old: str | Path) -> dict[str, Tensor]:
    """A state dict, without the prefix that training on several GPUs leaves."""
    found = next((checkpoint[name] for name in names if name in checkpoint), None)
    if not isinstance(found, dict) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise InputError(f"{old}: has no {' or '.join(names)}; it is not a checkpoint of CASM or of Phang et al.")
    tensors = {str(key).removeprefix("module."): value for key, value in found.items()}
    if not all(t.isfinite().all() for t in tensors.values() if t.is_floating_point()):
        raise InputError(f"{old}: its weights hold NaN or infinity; its training went wrong")
    return tensors


def _structure(decoder: dict[str, Tensor], settings: dict[str, Any], old: str) -> tuple[tuple[int, ...], FirstTap, str]:
    """(taps, how the first is read, how it ends), told by the tensors: settings have other names in each version."""
    for name, what in UNKNOWN.items():
        if settings.get(name):
            raise InputError(f"{old}: this masker also reads {what} ({name}), which the papers do not use")
    if settings.get("upsample", settings.get("final_upsample_mode", "nearest")) != "nearest":
        raise InputError(f"{old}: enlarges its masks bilinearly; only nearest is known, as in the papers")
    projected = {int(found[1]) for key in decoder if (found := PROJECTION.fullmatch(key))}
    head = next((prefix for prefix in HEADS if f"{prefix}weight" in decoder), None)
    if head is None or not projected:
        raise InputError(f"{old}: its decoder has layers of other names than the released code's")
    channels = decoder[f"{head}weight"].shape[1]
    raw = channels == 64 * (len(projected) + 1) and 0 not in projected
    if not raw and channels != 64 * len(projected):
        raise InputError(f"{old}: its decoder's last layer reads {channels} channels, not 64 of each tap")
    gumbel = HEADS[head]
    if gumbel != "none":
        mode = settings.get("gumbel_output_mode", "hard")
        if mode not in ("hard", "soft", "sigmoid"):
            raise InputError(f"{old}: its masks are {mode!r}, not in [0,1]")
        gumbel = "none" if mode == "sigmoid" else mode
    return tuple(sorted(projected | ({0} if raw else set()))), "raw" if raw else "projected", gumbel


def _temperature(settings: dict[str, Any]) -> float:
    value = settings.get("apply_gumbel_tau")
    return float(value) if isinstance(value, (int, float)) and value > 0 else 0.1


def _renamed(decoder: dict[str, Tensor], taps: tuple[int, ...]) -> dict[str, Tensor]:
    """Our names of the released decoder's tensors; a learned temperature matters in training only."""
    renamed = {}
    for key, value in decoder.items():
        found = PROJECTION.fullmatch(key)
        if found:
            renamed[f"projections.{taps.index(int(found[1]))}.{found[2]}.{found[3]}"] = value
        elif key != "final.tau":
            head = next((prefix for prefix in HEADS if key.startswith(prefix)), "")
            renamed["head." + key.removeprefix(head)] = value
    return renamed


def _classifier(state: dict[str, Tensor], name: str) -> Classifier:
    from torchvision.models import resnet50

    other = f"{name}: its classifier is not a ResNet-50, the one network of the released code"
    classes = number_of_rows(state, "fc.weight", other)
    misfit = f"{name}: the classifier is not the released code's"
    module = built_with(lambda: resnet50(weights=None, num_classes=classes), state, misfit)
    return Classifier(module, labels=imagenet_labels() if classes == 1000 else None, name=ENCODER)


def _paper(checkpoint: Mapping[str, Any]) -> str:
    return "Phang, Park, Geras 2021" if DECODERS[0] in checkpoint else "Zolna, Geras, Cho 2020"
