"""Maskers on Hugging Face's hub: a folder with the sealed weights, their settings and a model card, here or there.

The names are those of the hub's ``ModelHubMixin``. Its class itself is not inherited from: that of PyTorch saves
``self.module`` where there is one, which a classifier has, falls back to pickle and lets keys be missing.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar, cast

import yaml

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.files import atomic_write
from maskwise.core.hub_files import CLIENT, MODEL_FILE, fetched, local_file
from maskwise.core.text import one_line

CONFIG, CARD = "config.json", "README.md"
TAGS = ("maskwise", "saliency", "explainability", "weakly-supervised-localisation")
_OnHub = TypeVar("_OnHub", bound="OnHub")


class MaskerFiles(NamedTuple):
    """How a masker's file is read, of which class, and written."""

    read: Callable[[Path, Classifier, type[Any]], Any]
    write: Callable[[Path, Any, Classifier, dict[str, Any]], None]


class OnHub:
    """What makes a masker go to the hub and come from it.

    ``store`` knows the masks' networks and says how their files are read and written.
    """

    files: ClassVar[MaskerFiles]

    @classmethod
    def from_pretrained(
        cls: type[_OnHub],
        name_or_folder: str | Path,
        classifier: Classifier,
        *,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
    ) -> _OnHub:
        """The masker in a folder that ``save_pretrained`` wrote, or of a repository of the hub, ``owner/name``.

        Args:
            name_or_folder: of the hub where there is no such folder.
            classifier: the one that the masker was trained on.
            revision: branch, tag or commit; only the last can't be changed by its owner.
            cache_dir, local_files_only, token: see ``huggingface_hub.hf_hub_download``.

        Raises:
            InputError: it can't be had, was changed on the way, is of another classifier, or is another kind of masker.
        """
        folder = Path(name_or_folder)
        if folder.is_dir():
            path = folder / MODEL_FILE
        elif str(name_or_folder).startswith("hf:"):
            address = f"{name_or_folder}@{revision}" if revision else name_or_folder
            path = local_file(address, cache_dir=cache_dir, local_files_only=local_files_only, token=token)
        elif str(name_or_folder).count("/") == 1:
            path = fetched(
                str(name_or_folder), MODEL_FILE, revision, cache_dir=cache_dir, local_files_only=local_files_only,
                token=token,
            )  # fmt: skip
        else:
            raise InputError(f"{name_or_folder}: neither a folder nor owner/name on the hub")
        return cast(_OnHub, cls.files.read(path, classifier, cls))

    def save_pretrained(
        self,
        save_directory: str | Path,
        classifier: Classifier,
        recipe: Mapping[str, Any],
        *,
        licence: str | None = None,
        results: Mapping[str, Any] | None = None,
        repo_id: str | None = None,
    ) -> Path:
        """Writes weights, settings and card into a folder, which ``from_pretrained`` reads.

        Args:
            save_directory: made where it is not.
            classifier: the pretrained one that the training began from.
            recipe: every setting, as plain data.
            licence: of these weights, by the hub's name for it; none is said where none is given.
            results: what ``maskwise evaluate --json`` printed: its figures go into the card.
            repo_id: owner/name, for the card's example.

        Raises:
            InputError: results of another form.
        """
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        self.files.write(folder / MODEL_FILE, self, classifier, dict(recipe))
        config = {
            "library_name": "maskwise", "masker": type(self).__name__, "classifier": classifier.name,
            "fingerprint": classifier.fingerprint(), "recipe": dict(recipe),
        }  # fmt: skip
        card = model_card(config, licence, results, repo_id)
        for name, text in ((CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n"), (CARD, card)):
            with atomic_write(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
        return folder

    def push_to_hub(
        self,
        repo_id: str,
        classifier: Classifier,
        recipe: Mapping[str, Any],
        *,
        licence: str | None = None,
        results: Mapping[str, Any] | None = None,
        commit_message: str = "Push masker by maskwise",
        private: bool | None = None,
        token: str | None = None,
        branch: str | None = None,
    ) -> str:
        """Writes the same folder to the hub, with the rights of the token or of who is logged in.

        Returns:
            The address of the commit.

        Raises:
            InputError: results of another form, or the hub's client is not installed.
        """
        try:
            from huggingface_hub import HfApi
        except ImportError:
            raise InputError(f"push_to_hub {CLIENT}") from None

        api = HfApi(token=token)
        repo_id = str(api.create_repo(repo_id, private=private, exist_ok=True).repo_id)
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, classifier, recipe, licence=licence, results=results, repo_id=repo_id)
            done = api.upload_folder(
                repo_id=repo_id, folder_path=folder, commit_message=commit_message, revision=branch
            )
        return str(done)


def model_card(
    config: Mapping[str, Any],
    licence: str | None = None,
    results: Mapping[str, Any] | None = None,
    repo_id: str | None = None,
) -> str:
    """The README of a masker's repository: what the hub reads of it as YAML, then words and figures."""
    about: dict[str, Any] = {"library_name": "maskwise", "tags": list(TAGS), "pipeline_tag": "image-segmentation"}
    if licence is not None:
        about["license"] = licence
    where = repo_id or "FOLDER"
    name = one_line(str(config["classifier"]), 80)
    lines = [
        f"A {config['masker']} of maskwise: which pixels of a picture `{name}` uses, in one forward.", "",
        f"It fits one classifier, of fingerprint `{config['fingerprint']}`; another one is refused.", "",
        "```python", "import maskwise as mw", f"from maskwise.maskers import {config['masker']}", "",
        f"classifier = mw.load_classifier({name!r})",
        f"masker = {config['masker']}.from_pretrained({where!r}, classifier)", "```", "",
        "## Recipe", "", "```yaml", yaml.safe_dump(dict(config["recipe"]), sort_keys=True).rstrip(), "```",
    ]  # fmt: skip
    if results is not None:
        lines += ["", "## Figures", "", *_figures(results)]
    return "---\n" + yaml.safe_dump(about, sort_keys=True) + "---\n\n# Masker\n\n" + "\n".join(lines) + "\n"


def _figures(results: Mapping[str, Any]) -> list[str]:
    """A table of what ``maskwise evaluate --json`` printed."""
    rows = []
    try:
        for row in results["rows"]:
            for metric, cell in row["metrics"].items():
                numbers = [cell[end] for end in ("value", "low", "high")]
                if None not in numbers:  # what was not to be had
                    names = [one_line(str(name), 60) for name in (row["data"], row["method"], metric)]
                    value, low, high = map(float, numbers)
                    rows.append(f"| {' | '.join(names)} | {value:.4g} [{low:.4g}, {high:.4g}] | {row['pictures']} |")
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError("`results` are the dictionary that `maskwise evaluate` prints as JSON") from None
    return ["| data | method | metric | value, 95% interval | pictures |", "|---|---|---|---|---|", *rows]
