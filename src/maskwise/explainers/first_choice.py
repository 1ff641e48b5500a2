"""What explains a classifier where nobody has named a method."""

from __future__ import annotations

import logging
from collections.abc import Collection

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
    names = (ASKING,) if classifier.is_black_box else PREFERRED
    refused: InputError | None = None
    for name in names:
        try:
            methods.build(name, classifier)
        except InputError as error:
            refused = error
            continue
        log.info("%s: explained by %s, the first method that it allows", classifier.name, name)
        return name
    assert refused is not None
    raise refused
