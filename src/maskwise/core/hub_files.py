"""Files on Hugging Face's hub: ``hf://owner/name``, fetched once and kept in the hub's own cache."""

from __future__ import annotations

import re
from pathlib import Path

from maskwise.core.errors import InputError
from maskwise.core.text import one_line

SCHEME = "hf:"
CLIENT = "needs the hub's client: pip install huggingface_hub"
MODEL_FILE = "model.safetensors"  # what the hub calls the weights of a model
# One slash is enough, since a path swallows the second.
_ADDRESS = re.compile(r"hf:/{1,2}(?P<repo>[\w.-]+/[\w.-]+)(?P<file>(?:/[\w.-]+)*)(?:@(?P<revision>[\w./-]+))?")


def local_file(
    source: str | Path,
    default: str = MODEL_FILE,
    *,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Path:
    """A file's path: as it was given, or of what lies on the hub under ``hf://owner/name[/file][@revision]``.

    With HF_HUB_OFFLINE=1 nothing but the hub's cache on this machine is asked.

    Args:
        source: a path or an address.
        default: the file where an address names none.
        cache_dir, local_files_only, token: of what is fetched, as ``hf_hub_download`` has them.

    Raises:
        InputError: an address of another form, or the hub or its cache does not give the file.

    Example:
        >>> local_file("runs/mine/masker.safetensors").name
        'masker.safetensors'
    """
    text = source.as_posix() if isinstance(source, Path) else source
    if not text.startswith(SCHEME):
        return Path(source)
    found = _ADDRESS.fullmatch(text)
    if found is None or ".." in found["file"].split("/"):
        raise InputError(f"{text}: an address on the hub is hf://owner/name, hf://owner/name/file or …@revision")
    return fetched(
        found["repo"], found["file"].removeprefix("/") or default, found["revision"], cache_dir=cache_dir,
        local_files_only=local_files_only, token=token,
    )  # fmt: skip


def fetched(
    repo: str,
    file: str,
    revision: str | None = None,
    *,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Path:
    """Where a file of a repository lies on this machine; arguments are those of ``hf_hub_download``.

    Raises:
        InputError: the hub or its cache does not give it, or its client is not installed.
    """
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise InputError(f"hf://{repo} {CLIENT}") from None
    try:
        return Path(
            hf_hub_download(
                repo, file, revision=revision, cache_dir=cache_dir, local_files_only=local_files_only, token=token
            )
        )
    except Exception as error:  # the client raises many kinds: no network, no such repository, no rights
        said = f"{type(error).__name__}: {one_line(error, 160)}"
        raise InputError(f"hf://{repo}/{file} can't be had ({said})") from None
