"""What explains a classifier where nobody has named a method."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers.base import methods
from maskwise.maskers.store import read_header, recipe_of

WITH_MASKER = "distilled"
OF_NETWORK = {"unet": "dabkowski_gal", "shapley": "fast_shap"}  # what other methods can't read
PREFERRED = (WITH_MASKER, "generic_attention", "grad_cam", "gradient")
ASKING = "banzhaf"  # of a black box, which allows none of them
log = logging.getLogger(__name__)


def first_choice(classifier: Classifier, masker: str | Path | None = None) -> str:
    """The name of the first method that a network allows.

    ``distilled`` where the packaged masker is of this very classifier; ``generic_attention`` of a transformer whose
    attention can be read, since it was measured to be better there than Grad-CAM; else ``grad_cam``, or ``gradient`` of
    a network without a layer that has places. Of a black box ``banzhaf``. Where a masker's file is given: the method
    that it was trained for.

    Args:
        classifier: what is to be explained.
        masker: a masker's file.

    Raises:
        InputError: it allows none of them, and the message is the last one's; or the file is no masker's.
    """
    if masker is not None:
        return method_of(masker)
    name = next(_allowed(classifier))
    log.info("%s: explained by %s, the first method that it allows", classifier.name, name)
    return name


def method_of(masker: str | Path) -> str:
    """The name of the method whose masker a file holds, by its network and its recipe.

    Those of ``train`` and ``fit`` that have no method of their own (regions, ranking) are read by ``distilled``, which
    reads any masker of a decoder.

    Args:
        masker: its file.

    Raises:
        InputError: no such file, not a masker, or its recipe can't be read.
    """
    header = read_header(masker)
    if header["network"] in OF_NETWORK:
        return OF_NETWORK[header["network"]]
    recipe = recipe_of(header)
    if recipe.get("kind") != "mask":
        return WITH_MASKER
    if recipe.get("class_tap"):
        return "class_casm"
    return "casm_baseline" if recipe.get("thinning") == "F" else "casm"


def first_choices(classifier: Classifier, most: int) -> tuple[str, ...]:
    """Names of the first methods that a network allows, at most so many, in the order of ``first_choice``.

    Raises:
        InputError: it allows none of them; the message is the last one's.
    """
    return tuple(islice(_allowed(classifier), most))


def _allowed(classifier: Classifier) -> Iterator[str]:
    """Names of the methods that it allows, the first of which is there, or an InputError."""
    names = (ASKING,) if classifier.is_black_box else PREFERRED
    some, refused = False, None
    for name in names:
        try:
            methods.build(name, classifier)
        except InputError as error:
            refused = error
            continue
        some = True
        yield name
    if not some and refused is not None:
        raise refused
