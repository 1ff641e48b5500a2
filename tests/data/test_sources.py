"""Sources: what a line of text leads to, and what is said where it leads nowhere."""

import json
from pathlib import Path

import pytest
from data.making import picture

from maskwise.core.errors import InputError
from maskwise.data import DataSet, datasets, read_data
from maskwise.data.place import Place


def test_every_kind_states_its_facts() -> None:
    kinds = {
        "folder",
        "zip",
        "imagenet",
        "cub",
        "pets",
        "voc",
        "coco",
        "openimages",
        "tiny_imagenet",
        "shapes",
        "shards",
        "twins",
    }
    assert set(datasets.names()) == kinds | {"shapes", "twins"}
    for name, facts in datasets.items():
        assert facts.keys() == {"title", "boxes", "masks", "layout", "licence"}, name
        assert json.dumps(dict(facts)), "listings print them"
        assert issubclass(datasets.get(name), DataSet)


def test_unknown_kinds_offer_the_closest() -> None:
    with pytest.raises(InputError, match="unknown data set 'imagnet'; did you mean imagenet"):
        read_data("imagnet:somewhere@val")


@pytest.mark.parametrize("name", ["imagenet", "cub", "pets", "voc", "coco", "openimages", "tiny_imagenet"])
def test_official_layouts_say_what_is_missing(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder is missing"):
        read_data(name)
    with pytest.raises(InputError, match="no such folder"):
        read_data(f"{name}:{tmp_path / 'none'}")
    with pytest.raises(InputError, match="has no"):
        read_data(f"{name}:{tmp_path}")


def test_places() -> None:
    place = Place.parse("a/b@val,edges=exact", edges=("as_released", "exact"))
    assert (place.path, place.split, dict(place.options)) == (
        Path("a/b"), "val", {"labels": "classifier", "links": "inside", "edges": "exact"},
    )  # fmt: skip
    assert Place.parse("a/b").split is None
    assert Place.parse("a@b@c").split == "c"
    only = Place.parse("a@labels=own")
    assert (only.split, only.options["labels"]) == (None, "own")
    for text, match in [
        ("a@x,edge=1", "no option 'edge'; there are labels"),
        ("a@x,labels=mine", "labels is classifier or own, not 'mine'"),
        ("a@x,labels", "options are key=value"),
    ]:
        with pytest.raises(InputError, match=match):
            Place.parse(text)


def test_a_path_may_hold_an_at_sign(tmp_path: Path) -> None:
    picture(tmp_path / "set@home" / "images" / "a.png")
    assert len(read_data(tmp_path / "set@home")) == 1
    assert len(read_data(f"folder:{tmp_path}/set@home")) == 1


def test_a_folder_of_a_kind_s_name_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "shapes" / "images" / "a.png")
    monkeypatch.chdir(tmp_path)
    assert len(read_data("shapes")) == 1
    assert len(read_data("shapes:n=3")) == 3


def test_subset_and_filter_keep_the_kind(tmp_path: Path) -> None:
    data = read_data("shapes:n=10,size=40")
    assert [r.id for r in data.subset([3, 1]).records] == ["shapes/0/3", "shapes/0/1"]
    ninth = data.filter(lambda record: record.category == 0)
    assert [r.id for r in ninth.records] == ["shapes/0/0", "shapes/0/8"]
    assert ninth[1].image.equal(data[8].image)
    assert len(list(ninth)) == 2
