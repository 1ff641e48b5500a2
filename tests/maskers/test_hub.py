"""Maskers on the hub: a folder there and back, the hub's cache without a network, what is sent, what is refused."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from conftest import tiny_net

from maskwise.classifiers import Classifier, load_classifier
from maskwise.core.errors import InputError
from maskwise.core.hub_files import local_file
from maskwise.explainers import explainer
from maskwise.maskers import ClassMasker, Masker

COMMIT = "a" * 40
RECIPE = {"kind": "mask", "taps": [0, 1, 2], "lr": 0.001}
RESULTS = {
    "rows": [
        {"data": "pets", "method": "casm", "pictures": 20,
         "metrics": {"le": {"value": 38.0, "low": 33.6, "high": 42.4},
                     "iou": {"value": None, "low": None, "high": None}}}
    ]
}  # fmt: skip


@pytest.fixture
def classifier() -> Classifier:
    return Classifier(tiny_net(), input_size=32, name="tiny")


@pytest.fixture
def masker(classifier: Classifier) -> Masker:
    return Masker.build(classifier).eval()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache of this machine, with the network switched off as HF_HUB_OFFLINE=1 does."""
    constants = pytest.importorskip("huggingface_hub.constants")
    cache = tmp_path / "hub"
    cache.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return cache


def put(hub: Path, repo: str, folder: Path) -> None:
    """Lays a folder into the cache, as the client does."""
    place = hub / f"models--{repo.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT)
    shutil.copytree(folder, place / "snapshots" / COMMIT)


def test_a_folder_there_and_back(classifier: Classifier, masker: Masker, tmp_path: Path) -> None:
    folder = masker.save_pretrained(tmp_path / "mine", classifier, RECIPE, licence="mit", results=RESULTS)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    images = torch.rand(2, 3, 32, 32)
    back = Masker.from_pretrained(folder, classifier)
    assert torch.equal(back(images)[1], masker(images)[1])
    config = json.loads((folder / "config.json").read_text())
    assert config["recipe"] == RECIPE and config["fingerprint"] == classifier.fingerprint()
    head, _, card = (folder / "README.md").read_text().removeprefix("---\n").partition("---\n")
    about = yaml.safe_load(head)
    assert about["library_name"] == "maskwise" and about["license"] == "mit" and "saliency" in about["tags"]
    assert "| pets | casm | le | 38 [33.6, 42.4] | 20 |" in card and "iou" not in card
    again = masker.save_pretrained(tmp_path / "again", classifier, RECIPE, licence="mit", results=RESULTS)
    assert all((again / path.name).read_bytes() == path.read_bytes() for path in folder.iterdir())


def test_the_card_s_own_lines_load_the_masker(
    classifier: Classifier, masker: Masker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masker.save_pretrained(tmp_path / "FOLDER", classifier, RECIPE)
    card = (tmp_path / "FOLDER" / "README.md").read_text()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("maskwise.load_classifier", lambda name: classifier, raising=False)
    names: dict[str, Any] = {}
    exec(card.split("```python\n")[1].split("```")[0], names)
    assert isinstance(names["masker"], Masker)


def test_what_does_not_fit_is_refused(classifier: Classifier, masker: Masker, tmp_path: Path) -> None:
    folder = masker.save_pretrained(tmp_path / "mine", classifier, RECIPE)
    with pytest.raises(InputError, match="was trained on tiny"):
        Masker.from_pretrained(folder, Classifier(tiny_net(1), input_size=32, name="other"))
    with pytest.raises(InputError, match="knows no classes"):
        ClassMasker.from_pretrained(folder, classifier)
    with pytest.raises(InputError, match="neither a folder nor owner/name"):
        Masker.from_pretrained("nowhere", classifier)
    with pytest.raises(InputError, match="`maskwise evaluate` prints as JSON"):
        masker.save_pretrained(tmp_path / "wrong", classifier, RECIPE, results={"rows": [{"data": "pets"}]})
    changed = bytearray((folder / "model.safetensors").read_bytes())
    changed[-1] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(changed))
    with pytest.raises(InputError, match=r"model\.safetensors"):
        Masker.from_pretrained(folder, classifier)


def test_the_hub_s_cache_serves_maskers_and_weights_offline(
    classifier: Classifier, masker: Masker, tmp_path: Path, hub: Path
) -> None:
    put(hub, "someone/tiny-masker", masker.save_pretrained(tmp_path / "mine", classifier, RECIPE))
    images = torch.rand(1, 3, 32, 32)
    wanted = masker(images)[1]
    for revision in (None, COMMIT):
        back = Masker.from_pretrained("someone/tiny-masker", classifier, revision=revision)
        assert torch.equal(back(images)[1], wanted)
    address = "hf://someone/tiny-masker"
    for name in (address, Path(address), f"{address}/model.safetensors@{COMMIT}"):
        made = explainer("casm", classifier, masker=name)
        assert torch.allclose(
            made(images), explainer("casm", classifier, masker=tmp_path / "mine/model.safetensors")(images)
        )
    (tmp_path / "net").mkdir()
    torch.save(tiny_net(7).state_dict(), tmp_path / "net" / "net.pth")
    put(hub, "someone/tiny-net", tmp_path / "net")
    (tmp_path / "own.py").write_text("from conftest import tiny_net\n\ndef net():\n    return tiny_net(0)\n")
    loaded = load_classifier(f"{tmp_path / 'own.py'}:net", "hf://someone/tiny-net/net.pth", size=32)
    assert torch.equal(loaded.module[0].weight, tiny_net(7)[0].weight)  # type: ignore[index]
    with pytest.raises(InputError, match="hf://someone/nothing/model.safetensors can't be had"):
        Masker.from_pretrained("someone/nothing", classifier)


@pytest.mark.parametrize("address", ["hf://", "hf://someone", "hf://a/b/../../etc", "hf://a/b@", "hf://a b/c"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(InputError, match="an address on the hub is"):
        local_file(address)


@pytest.mark.parametrize("name", ["a/b", "hf://a/b", "hf://a/b/model.safetensors"])
def test_how_to_fetch_reaches_the_client_by_either_name(
    name: str, classifier: Classifier, masker: Masker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = masker.save_pretrained(tmp_path, classifier, RECIPE) / "model.safetensors"
    asked: list[Any] = []

    def download(repo: str, name: str, **more: Any) -> str:
        asked.append((repo, name, more))
        return str(file)

    monkeypatch.setattr(pytest.importorskip("huggingface_hub"), "hf_hub_download", download)
    how = {"cache_dir": "there", "local_files_only": True, "token": "secret"}
    Masker.from_pretrained(name, classifier, revision="v1", **how)  # type: ignore[arg-type]
    assert asked == [("a/b", "model.safetensors", {"revision": "v1", **how})]


def test_without_the_client_pushing_is_refused_in_a_line(
    classifier: Classifier, masker: Masker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match="needs the hub's client: pip install huggingface_hub"):
        masker.push_to_hub("mine", classifier, RECIPE)
    with pytest.raises(InputError, match="needs the hub's client: pip install huggingface_hub"):
        Masker.from_pretrained("a/b", classifier)


def test_what_is_pushed_is_the_folder(
    classifier: Classifier, masker: Masker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: dict[str, Any] = {}

    class Api:
        def __init__(self, token: str | None = None) -> None:
            sent["token"] = token

        def create_repo(self, repo_id: str, private: bool | None, exist_ok: bool) -> Any:
            sent["made"] = (repo_id, private, exist_ok)
            return SimpleNamespace(repo_id=f"me/{repo_id}")

        def upload_folder(self, repo_id: str, folder_path: str, commit_message: str, revision: str | None) -> str:
            sent["files"] = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}
            sent["to"] = (repo_id, revision)
            return f"https://hub/{repo_id}/commit/1"

    monkeypatch.setattr(pytest.importorskip("huggingface_hub"), "HfApi", Api)
    where = masker.push_to_hub("mine", classifier, RECIPE, private=True, branch="next")
    assert where == "https://hub/me/mine/commit/1"
    assert sent["made"] == ("mine", True, True) and sent["to"] == ("me/mine", "next") and sent["token"] is None
    folder = masker.save_pretrained(tmp_path / "same", classifier, RECIPE, repo_id="me/mine")
    assert sent["files"] == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert b"from_pretrained('me/mine', classifier)" in sent["files"]["README.md"]
