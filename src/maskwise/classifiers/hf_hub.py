"""What Hugging Face's hub or a folder gives: models, and how their pictures are prepared."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from maskwise.core.errors import InputError
from maskwise.core.text import one_line


@contextmanager
def fetching(name: str) -> Iterator[None]:
    """Whatever goes wrong within is one line, and no bars of progress are drawn into pipes and log files.

    Raises:
        InputError: the hub's client, or transformers, raised one of their many errors.
    """
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"hf/{name} can't be loaded ({type(error).__name__}: {one_line(error, 120)})") from None
    finally:
        if shown:
            logging.enable_progress_bar()


def image_processor(name: str) -> Any:
    """How its pictures are prepared; None, with a warning, where nothing says so.

    A file that says so and can't be read is an error: with another mean the maps would be of other pictures.

    Raises:
        InputError: there is one that can't be loaded.
    """
    from transformers import AutoImageProcessor

    with fetching(name):
        try:
            return cast(Any, AutoImageProcessor).from_pretrained(name, trust_remote_code=False)
        except OSError as error:
            if not str(error).startswith("Can't load image processor"):
                raise
    warnings.warn(
        f"hf/{name} has no preprocessor_config.json, so how its pictures are prepared is a guess: the usual mean and "
        "standard deviation of its kind. Load model and processor yourself and give from_hf both if they are others",
        stacklevel=4,
    )
    return None
