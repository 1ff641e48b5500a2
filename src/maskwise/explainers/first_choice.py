"""What explains a classifier where nobody has named a method."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from itertools import islice

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers.base import methods

WITH_MASKER = "distilled"
PREFERRED = (WITH_MASKER, "generic_attention", "grad_cam", "gradient")
ASKING = "banzhaf"  # of a black box, which allows none of them
log = logging.getLogger(__name__)


def first_choice(classifier: Classifier, given: Collection[str] = ()) -> str:
    """The name of the first method that a network allows.

    ``distilled`` where the packaged masker is of this very classifier, or a masker's file is given;
    ``generic_attention`` of a transformer whose attention can be read, since it was measured to be better there than
    Grad-CAM; else ``grad_cam``, or ``gradient`` of a network without a layer that has places. Of a black box
    ``banzhaf``.

    Args:
        classifier: what is to be explained.
        given: names of options that the method is to have.

    Raises:
        InputError: it allows none of them; the message is the last one's.
    """
    if "masker" in given:
        return WITH_MASKER
    name = next(_allowed(classifier))
    log.info("%s: explained by %s, the first method that it allows", classifier.name, name)
    return name


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
