"""From a line of text to a data set: the registry of all kinds, and the one place where sources are parsed."""

from __future__ import annotations

import logging
import re
import zipfile
from pathlib import Path

from maskwise.core.errors import InputError
from maskwise.core.registry import Registry
from maskwise.data.dataset import DataSet
from maskwise.data.shard_files import are_shards, is_remote
from maskwise.formats import NO_DATA

log = logging.getLogger(__name__)
datasets: Registry[type[DataSet]] = Registry("data set")


def read_data(source: str | Path) -> DataSet:
    """A data set by its source.

    Args:
        source: a folder; a zip with an images.csv, ``FILE.zip`` or ``FILE.zip@split``; shards: a folder of
            ``maskwise pack``, ``DIR/x-{000..127}.tar``, a URL or ``pipe:COMMAND``; or ``name:…`` with a name that
            ``datasets`` lists, such as ``imagenet:DIR@val``, ``shapes``, ``shapes:n=50,seed=1`` or ``twins:shapes``.

    Returns:
        Records at once, pictures when they are asked for; it can be pickled and read from many threads.

    Raises:
        InputError: nothing there, an unknown name or split, an empty set, or a listing that can't be read.

    Example:
        >>> read_data("shapes:n=10").records[3].id
        'shapes/0/3'
    """
    try:
        data = _read(str(source))
    except OSError as error:  # a name that is too long, a disk that fails
        raise InputError(f"{str(source)[:200]}: can't be read ({error.strerror or error})") from None
    log.info("data %s: %d pictures", source, len(data))
    return data


def _read(text: str) -> DataSet:
    if is_remote(text):
        return datasets.get("shards").read(text)
    name, colon, rest = text.partition(":")
    # One letter before a colon is a drive.
    named = bool(colon) and len(name) > 1 and not Path(text).exists() and re.fullmatch(r"[A-Za-z][\w-]+", name)
    if named or (name in datasets and not Path(name).is_dir()):
        return datasets.get(name).read(rest)
    if are_shards(text):
        return datasets.get("shards").read(text)
    path = text if Path(text).exists() else text.rpartition("@")[0] or text
    if Path(path).is_dir():
        return datasets.get("folder").read(text)
    if Path(path).is_file() and zipfile.is_zipfile(path):
        return datasets.get("zip").read(text)
    raise InputError(NO_DATA.format(text))
