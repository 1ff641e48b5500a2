"""A trained masker as one safetensors file: decoder, encoder where it has its own, recipe, fingerprint."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from maskwise.classifiers import Classifier, still_copy, widened
from maskwise.core.errors import InputError
from maskwise.core.files import atomic_write, is_file
from maskwise.core.hub_files import local_file
from maskwise.core.portions import out_of_memory
from maskwise.core.seal import DTYPES, check_seal, save_sealed
from maskwise.core.text import one_line
from maskwise.maskers.class_masker import ClassMasker
from maskwise.maskers.hub import MaskerFiles, OnHub
from maskwise.maskers.masker import Masker
from maskwise.maskers.own_encoder import SMALL, own_encoder
from maskwise.maskers.settings_read import LONGEST_LIST, agnostic_settings, as_object, cell_settings, unet_settings
from maskwise.maskers.shapley_masker import ShapleyMasker

FORMAT, UNSEALED = "maskwise-masker-2", "maskwise-masker-1"
AnyMasker = Masker | ClassMasker
StoredMasker = AnyMasker | ShapleyMasker
_Kind = TypeVar("_Kind", Masker, ClassMasker, ShapleyMasker)
_Value = TypeVar("_Value")


def save_masker(
    path: str | Path,
    masker: StoredMasker,
    classifier: Classifier,
    recipe: dict[str, Any],
    *,
    half_encoder: bool = False,
    half_decoder: bool = False,
    trained_on: Sequence[str] = (),
) -> None:
    """Writes the masker atomically; equal maskers give equal bytes, and a digest of them is among them.

    Args:
        path: ends in .safetensors.
        classifier: the pretrained one the training began from; an encoder equal to it is not stored again. Of one that
            comes by its name (see ``own_encoder``) only its fingerprint is.
        recipe: every setting, as plain data.
        half_encoder: store the encoder in float16, half the size.
        half_decoder: the same for matrices and kernels of the decoder; what batch norm keeps stays as it is.
        trained_on: metrics that were the loss itself, by name: numbers of theirs are no independent judgement of it.
    """
    tensors = {k: _stored(v, half_decoder and v.ndim > 1) for k, v in _named("decoder.", masker.decoder.state_dict())}
    named = own_encoder_of(recipe) not in (None, SMALL)
    if masker.encoder.fingerprint() != classifier.fingerprint() and not named:
        tensors |= {k: _stored(v, half_encoder) for k, v in _named("encoder.", masker.encoder.module.state_dict())}
    header = {
        "format": FORMAT,
        "network": next(name for name, kind in KINDS.items() if isinstance(masker, kind)),
        "recipe": json.dumps(recipe),
        "classifier": classifier.name,
        "fingerprint": classifier.fingerprint(),
        "taps": json.dumps(masker.encoder.tap_names),
        "output": json.dumps(classifier.output),
    }
    if named:
        header["encoder_fingerprint"] = masker.encoder.fingerprint()
    if isinstance(masker, (ClassMasker, ShapleyMasker)):
        header["settings"] = json.dumps(masker.settings)
    if trained_on:
        header["trained_on"] = json.dumps(list(trained_on))
    with atomic_write(path) as temporary:
        save_sealed(temporary, tensors, header)


def _named(prefix: str, state: dict[str, Tensor]) -> list[tuple[str, Tensor]]:
    return [(prefix + key, value) for key, value in state.items()]


def _stored(value: Tensor, half: bool) -> Tensor:
    value = value.detach().cpu().contiguous()
    return value.half() if half and value.dtype == torch.float32 else value


def own_encoder_of(recipe: Mapping[str, Any]) -> str | None:
    """The name of a network that a masker reads in place of its classifier; None where it reads that one.

    Recipes of class-conditional maskers have words of their own for encoders that come from the classifier.
    """
    name = recipe.get("encoder")
    return None if name is None or recipe.get("kind") == "class_mask" else str(name)


def read_header(path: str | Path) -> dict[str, str]:
    """The header of a masker's file; ``network`` is ``decoder`` (class-agnostic), ``unet`` (of a class) or ``shapley``.

    Raises:
        InputError: no such file, or not a masker.
    """
    path = local_file(path)
    if not is_file(path):
        raise InputError(f"masker {str(path)!r} does not exist")
    try:
        with safe_open(path, framework="pt") as stored:
            header = cast("dict[str, str]", stored.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a safetensors file ({one_line(error, 100)})") from None
    if header.get("format") not in (FORMAT, UNSEALED):
        raise InputError(f"{path}: safetensors, but not a masker of maskwise")
    return {"network": "decoder", **header}  # which files of the first version do not name


def trained_on(header: Mapping[str, str]) -> tuple[str, ...]:
    """Metrics that were the loss of the masker with this header, by name; none of most.

    Raises:
        InputError: the entry is no list of names.
    """
    try:
        names = json.loads(header.get("trained_on", "[]"))
    except ValueError:
        names = None
    if not isinstance(names, list) or len(names) > LONGEST_LIST or not all(isinstance(name, str) for name in names):
        raise InputError("the masker's header says what it was trained on in a way that can't be read")
    return tuple(one_line(name, 40) for name in names)


def recipe_of(header: Mapping[str, str]) -> dict[str, Any]:
    """The recipe, as plain data, of the masker with this header.

    Raises:
        InputError: there is none, or it is no JSON object.
    """
    try:
        return as_object(header["recipe"])
    except (KeyError, ValueError, RecursionError):
        raise InputError("the masker's header holds no recipe that can be read") from None


def load_agnostic_masker(path: str | Path, classifier: Classifier) -> Masker:
    """The class-agnostic masker in ``path``, on the classifier it was trained on.

    Raises:
        InputError: a masker of another kind; or as ``load_masker``.
    """
    return _of_kind(path, classifier, Masker)


def load_class_masker(path: str | Path, classifier: Classifier) -> ClassMasker:
    """The class-conditional masker in ``path``; arguments and errors as ``load_agnostic_masker``."""
    return _of_kind(path, classifier, ClassMasker)


def load_shapley_masker(path: str | Path, classifier: Classifier) -> ShapleyMasker:
    """The network of Shapley values in ``path``; arguments and errors as ``load_agnostic_masker``."""
    return _of_kind(path, classifier, ShapleyMasker)


def start_at(masker: AnyMasker, path: str | Path | None, classifier: Classifier, encoder_too: bool = False) -> None:
    """Gives the decoder the weights of the one in ``path``, where there is one; it goes on learning from there.

    Args:
        encoder_too: does the encoder learn as well? Then it begins with the one in ``path``, which the decoder was
            trained on; one that stays as it is must be the classifier.

    Raises:
        InputError: as ``load_agnostic_masker`` and ``load_class_masker``; or its decoder has another layout, or its
            encoder was trained for masks alone while this one is a classifier, too (or the other way round).
    """
    if path is None:
        return
    load: Callable[[str | Path, Classifier], AnyMasker]
    load, settings = load_agnostic_masker, "decoder, taps, width, mix and class_tap"
    if isinstance(masker, ClassMasker):
        load, settings = load_class_masker, "widths, upsampling, kernel and bottlenecks"
    theirs = load(path, classifier)
    try:
        masker.decoder.load_state_dict(theirs.decoder.state_dict())
    except RuntimeError:
        raise InputError(
            f"{path}: its decoder is not laid out as the recipe says: give {settings} as its own recipe has them"
        ) from None
    if encoder_too and isinstance(masker, Masker) and isinstance(theirs, Masker):
        if masker.shares_encoder != theirs.shares_encoder:
            apart = "an encoder" if theirs.shares_encoder else "no encoder"
            raise InputError(f"{path}: has {apart} that is a classifier, too: give shared as its own recipe has it")
        masker.encoder.module.load_state_dict(theirs.encoder.module.state_dict())


def load_masker(path: str | Path, classifier: Classifier) -> AnyMasker:
    """The masker in ``path``, class-agnostic or class-conditional, on the classifier it was trained on.

    Returns:
        A ``Masker``, ``(images) -> (logits, masks (N,H,W))``, or a ``ClassMasker``, ``(images, classes (N,K)) ->
        (logits, masks (N,K,H,W))``, in eval mode.

    Raises:
        InputError: unreadable or damaged file, a masker of another classifier or of other taps, or one that holds NaN.
    """
    masker = _stored_masker(path, classifier)
    if isinstance(masker, ShapleyMasker):
        raise InputError(f"{path}: this masker {SAYS[ShapleyMasker]}")
    return masker


def _stored_masker(path: str | Path, classifier: Classifier) -> StoredMasker:
    path = local_file(path)
    header = read_header(path)
    check_seal(path)
    try:
        return _built(path, classifier, header)
    except InputError:
        raise
    # A header is text that anyone may have written, and tensors of any shape may follow it.
    except (
        KeyError, ValueError, TypeError, AttributeError, IndexError, RuntimeError, RecursionError, SafetensorError
    ) as error:  # fmt: skip
        if out_of_memory(error):
            raise
        said = f"{type(error).__name__}: {one_line(error, 160)}"
        raise InputError(f"{path}: header and tensors are not those of a masker ({said})") from None


def _built(path: str | Path, classifier: Classifier, header: dict[str, str]) -> StoredMasker:
    if header["fingerprint"] != classifier.fingerprint():
        raise InputError(
            f"{path}: was trained on {header['classifier']} ({header['fingerprint']}), not on {classifier.name} "
            f"({classifier.fingerprint()}); load that classifier, or train a masker for yours"
        )
    build = NETWORKS.get(header["network"])
    if build is None:
        raise InputError(f"{path}: holds a network {header['network']!r}, which this version of maskwise does not know")
    with safe_open(path, framework="pt") as stored:
        names = list(stored.keys())
        slices = {key: stored.get_slice(key) for key in names}
        shapes = {key: tuple(one.get_shape()) for key, one in slices.items()}
        if not all(one.get_dtype() in DTYPES.values() for one in slices.values()):
            raise ValueError("numbers of a type that no masker has")
        _check_output(path, classifier, header)
        masker = build(classifier, header)  # without values, so that a header alone costs no memory
        _check_taps(path, masker, header)
        own = any(key.startswith("encoder.") for key in names)
        _check_shapes("decoder.", masker.decoder, shapes)
        if isinstance(masker, Masker) and not own and own_encoder_of(recipe_of(header)) == SMALL:
            raise ValueError("the encoder that learnt with the decoder is missing")
        if own:
            _check_shapes("encoder.", masker.encoder.module, shapes)
        tensors: dict[str, Tensor] = {key: stored.get_tensor(key) for key in names}
    if not all(t.isfinite().all() for t in tensors.values() if t.is_floating_point()):
        raise InputError(f"{path}: the masker's weights hold NaN or infinity; its training went wrong")
    types = {key: value.dtype for key, value in masker.decoder.state_dict().items()}
    decoder = {key: value.to(types[key]) for key, value in _of("decoder.", tensors).items()}  # float16 is widened
    masker.decoder.load_state_dict(decoder, assign=True)
    masker.decoder.to(classifier.device)
    if own:
        if masker.encoder is classifier:  # which others use too
            masker.encoder = still_copy(classifier)
        # One that learnt did so in float32 at least.
        widened(masker.encoder).module.load_state_dict(_of("encoder.", tensors))
    for part in (masker.decoder, masker.encoder):
        if part is not classifier:  # whose flags are its owner's business
            part.eval().requires_grad_(False)
    return masker


def _of_kind(path: str | Path, classifier: Classifier, kind: type[_Kind]) -> _Kind:
    masker = _stored_masker(path, classifier)
    if not isinstance(masker, kind):
        raise InputError(f"{path}: this masker {SAYS[type(masker)]}")
    return masker


def _of(prefix: str, named: Mapping[str, _Value]) -> dict[str, _Value]:
    return {key.removeprefix(prefix): value for key, value in named.items() if key.startswith(prefix)}


def _check_output(path: str | Path, classifier: Classifier, header: Mapping[str, str]) -> None:
    """Raises InputError where other scores of the network are read than at the training: they are of other classes.

    Older files do not say.
    """
    theirs, ours = header.get("output"), json.dumps(classifier.output)
    if theirs is not None and theirs != ours:
        raise InputError(
            f"{path}: its masker was trained on output {one_line(theirs, 100)} of {classifier.name}, and this is "
            f"output {one_line(ours, 100)} (null: none was named): give the classifier with that `output`, or train a "
            "masker"
        )


def _check_taps(path: str | Path, masker: StoredMasker, header: Mapping[str, str]) -> None:
    """Raises InputError where the encoder's taps are not those of the training: other layers may have the same shapes.

    Some files of the first version do not name them.
    """
    theirs, ours = header.get("taps"), json.dumps(masker.encoder.tap_names)
    if theirs is not None and theirs != ours:
        raise InputError(
            f"{path}: its masker reads taps {one_line(theirs, 300)}, and those of {masker.encoder.name} are "
            f"{one_line(ours, 300)}: give the classifier with `taps` as the first list has them, or train a masker"
        )


def _check_shapes(prefix: str, network: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises ValueError unless the file's tensors below ``prefix`` are a network's, by name and shape."""
    theirs = _of(prefix, shapes)
    ours = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key):
            have, need = (shape if shape is not None else "nothing" for shape in (theirs.get(key), ours.get(key)))
            raise ValueError(f"{prefix}{key} is {have}, where the header has {need}")


def _decoder(classifier: Classifier, header: dict[str, str]) -> Masker:
    layout, finish, reading = agnostic_settings(header["recipe"])
    own, encoder = own_encoder_of(recipe_of(header)), None
    if own is not None:
        with torch.random.fork_rng(devices=[]):  # weights that the file's replace
            encoder = own_encoder(own, classifier)
        if own != SMALL and header["encoder_fingerprint"] != encoder.fingerprint():
            raise InputError(
                f"the masker reads {own} ({header['encoder_fingerprint']}), and the {own} that is installed here has "
                f"other weights ({encoder.fingerprint()}): install the version that it was trained with"
            )
    return Masker.build(
        classifier, reads=reading.taps, finish=finish, shares_encoder=reading.shared, layout=layout, empty=True,
        encoder=encoder,
    )  # fmt: skip


def _unet(classifier: Classifier, header: dict[str, str]) -> ClassMasker:
    return ClassMasker.build(classifier, **unet_settings(header["settings"]), empty=True)


def _shapley(classifier: Classifier, header: dict[str, str]) -> ShapleyMasker:
    return ShapleyMasker.build(classifier, **cell_settings(header["settings"]), empty=True)


SAYS: dict[type[StoredMasker], str] = {
    Masker: "knows no classes: it is for `method=casm`",
    ClassMasker: "needs a class: it is for `method=dabkowski_gal`",
    ShapleyMasker: "gives values of cells and no masks: it is for `method=fast_shap`",
}
KINDS: dict[str, type[StoredMasker]] = {"decoder": Masker, "unet": ClassMasker, "shapley": ShapleyMasker}
NETWORKS: dict[str, Callable[[Classifier, dict[str, str]], StoredMasker]] = {
    "decoder": _decoder, "unet": _unet, "shapley": _shapley,
}  # fmt: skip

OnHub.files = MaskerFiles(_of_kind, save_masker)
