"""A trained masker as one safetensors file: decoder, encoder where it has its own, recipe, fingerprint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from maskwise.classifiers import Classifier, still_copy
from maskwise.core.errors import InputError
from maskwise.core.files import atomic_write
from maskwise.core.seal import check_seal, save_sealed
from maskwise.maskers.class_masker import ClassMasker
from maskwise.maskers.finish import Finish
from maskwise.maskers.masker import Masker
from maskwise.maskers.mixing import Layout

FORMAT, UNSEALED = "maskwise-masker-2", "maskwise-masker-1"
WIDEST = 4096
AnyMasker = Masker | ClassMasker
_Kind = TypeVar("_Kind", Masker, ClassMasker)


def save_masker(
    path: str | Path,
    masker: AnyMasker,
    classifier: Classifier,
    recipe: dict[str, Any],
    *,
    half_encoder: bool = False,
    half_decoder: bool = False,
) -> None:
    """Writes the masker atomically; equal maskers give equal bytes, and a digest of them is among them.

    Args:
        path: ends in .safetensors.
        classifier: the pretrained one the training began from; an encoder equal to it is not stored again.
        recipe: every setting, as plain data.
        half_encoder: store the encoder in float16, half the size.
        half_decoder: the same for matrices and kernels of the decoder; what batch norm keeps stays as it is.
    """
    tensors = {k: _stored(v, half_decoder and v.ndim > 1) for k, v in _named("decoder.", masker.decoder.state_dict())}
    if masker.encoder.fingerprint() != classifier.fingerprint():
        tensors |= {k: _stored(v, half_encoder) for k, v in _named("encoder.", masker.encoder.module.state_dict())}
    header = {
        "format": FORMAT,
        "network": "unet" if isinstance(masker, ClassMasker) else "decoder",
        "recipe": json.dumps(recipe),
        "classifier": classifier.name,
        "fingerprint": classifier.fingerprint(),
        "taps": json.dumps(masker.encoder.tap_names),
    }
    if isinstance(masker, ClassMasker):
        header["settings"] = json.dumps(masker.settings)
    with atomic_write(path) as temporary:
        save_sealed(temporary, tensors, header)


def _named(prefix: str, state: dict[str, Tensor]) -> list[tuple[str, Tensor]]:
    return [(prefix + key, value) for key, value in state.items()]


def _stored(value: Tensor, half: bool) -> Tensor:
    value = value.detach().cpu().contiguous()
    return value.half() if half and value.dtype == torch.float32 else value


def read_header(path: str | Path) -> dict[str, str]:
    """The header of a masker's file; ``network`` is ``decoder`` (class-agnostic) or ``unet`` (class-conditional).

    Raises:
        InputError: no such file, or not a masker.
    """
    if not Path(path).is_file():
        raise InputError(f"masker {str(path)!r} does not exist")
    try:
        with safe_open(path, framework="pt") as stored:
            header = cast("dict[str, str]", stored.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a safetensors file ({' '.join(str(error).split())[:100]})") from None
    if header.get("format") not in (FORMAT, UNSEALED):
        raise InputError(f"{path}: safetensors, but not a masker of maskwise")
    return {"network": "decoder", **header}  # which files of the first version do not name


def load_agnostic_masker(path: str | Path, classifier: Classifier) -> Masker:
    """The class-agnostic masker in ``path``, on the classifier it was trained on.

    Raises:
        InputError: a masker of another kind; or as ``load_masker``.
    """
    return _of_kind(path, classifier, Masker, "needs a class: it is for `method=dabkowski_gal`")


def load_class_masker(path: str | Path, classifier: Classifier) -> ClassMasker:
    """The class-conditional masker in ``path``; arguments and errors as ``load_agnostic_masker``."""
    return _of_kind(path, classifier, ClassMasker, "knows no classes: it is for `method=casm`")


def start_at(masker: Masker, path: str | Path | None, classifier: Classifier) -> None:
    """Gives the decoder the weights of the one in ``path``, where there is one; it goes on learning from there.

    Raises:
        InputError: as ``load_agnostic_masker``; or its decoder has another layout.
    """
    if path is None:
        return
    theirs = load_agnostic_masker(path, classifier)
    try:
        masker.decoder.load_state_dict(theirs.decoder.state_dict())
    except RuntimeError:
        raise InputError(
            f"{path}: its decoder is not laid out as the recipe says: give decoder, taps, width, mix and class_tap as "
            "its own recipe has them"
        ) from None


def load_masker(path: str | Path, classifier: Classifier) -> AnyMasker:
    """The masker in ``path``, class-agnostic or class-conditional, on the classifier it was trained on.

    Returns:
        A ``Masker``, ``(images) -> (logits, masks (N,H,W))``, or a ``ClassMasker``, ``(images, classes (N,K)) ->
        (logits, masks (N,K,H,W))``, in eval mode.

    Raises:
        InputError: unreadable or damaged file, a masker of another classifier, or one that holds NaN.
    """
    header = read_header(path)
    check_seal(path)
    try:
        return _built(path, classifier, header)
    except InputError:
        raise
    # A header is text that anyone may have written, and tensors of any shape may follow it.
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, RuntimeError, SafetensorError) as error:
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise InputError(f"{path}: header and tensors are not those of a masker ({said})") from None


def _built(path: str | Path, classifier: Classifier, header: dict[str, str]) -> AnyMasker:
    if header["fingerprint"] != classifier.fingerprint():
        raise InputError(
            f"{path}: was trained on {header['classifier']} ({header['fingerprint']}), not on {classifier.name} "
            f"({classifier.fingerprint()}); load that classifier, or train a masker for yours"
        )
    build = NETWORKS.get(header["network"])
    if build is None:
        raise InputError(f"{path}: holds a network {header['network']!r}, which this version of maskwise does not know")
    with safe_open(path, framework="pt") as stored:
        tensors: dict[str, Tensor] = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
    if not all(t.isfinite().all() for t in tensors.values() if t.is_floating_point()):
        raise InputError(f"{path}: the masker's weights hold NaN or infinity; its training went wrong")
    masker = build(classifier, header)
    # Values in float16 are widened by the copy.
    masker.decoder.load_state_dict(_of("decoder.", tensors))
    own = _of("encoder.", tensors)
    if own:
        if masker.encoder is classifier:  # which others use too
            masker.encoder = still_copy(classifier)
        masker.encoder.module.load_state_dict(own)
    for part in (masker.decoder, masker.encoder):
        if part is not classifier:  # whose flags are its owner's business
            part.eval().requires_grad_(False)
    return masker


def _of_kind(path: str | Path, classifier: Classifier, kind: type[_Kind], otherwise: str) -> _Kind:
    masker = load_masker(path, classifier)
    if not isinstance(masker, kind):
        raise InputError(f"{path}: this masker {otherwise}")
    return masker


def _of(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _modest(*sizes: int) -> None:
    """No network of a thousand gigabytes is built because a header says so."""
    if not all(1 <= size <= WIDEST for size in sizes):
        raise ValueError(f"channels and layers are 1…{WIDEST}, not {sizes}")


def _decoder(classifier: Classifier, header: dict[str, str]) -> Masker:
    recipe = json.loads(header["recipe"])
    layout = Layout.of({**recipe, "head_std": None})
    _modest(layout.width, layout.mix)
    shared = recipe.get("shared", True)
    return Masker.build(
        classifier, reads=recipe.get("taps"), finish=Finish.of(recipe), shares_encoder=shared, layout=layout
    )


def _unet(classifier: Classifier, header: dict[str, str]) -> ClassMasker:
    settings = json.loads(header["settings"])
    _modest(*settings.get("widths", ()), settings.get("bottlenecks") or 1)
    return ClassMasker.build(classifier, **settings)


NETWORKS: dict[str, Callable[[Classifier, dict[str, str]], AnyMasker]] = {"decoder": _decoder, "unet": _unet}
