"""Names that lead elsewhere: in listings, in archives, by links."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
from data.making import mask, picture, text

from maskwise.core.errors import InputError
from maskwise.data import read_data
from maskwise.data.store import Folder
from maskwise.picture_headers import find_pictures

ELSEWHERE = ("../secret.png", "a/../../secret.png", "/etc/passwd", "..", "../set-2/secret.png", "a\0b")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    picture(tmp_path / "set" / "images" / "a.png")
    picture(tmp_path / "secret.png")
    picture(tmp_path / "set-2" / "secret.png")
    return tmp_path / "set"


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_listing_names_only_what_lies_below(name: str, root: Path) -> None:
    with pytest.raises(InputError, match="not a name below|link out"):
        Folder(root).read(name)


def test_coco_and_cub_with_such_a_name(root: Path) -> None:
    table = '{"categories": [], "annotations": [], "images": [{"id": 1, "file_name": "../../secret.png"}]}'
    text(root / "annotations" / "instances_val.json", table)
    (root / "val").mkdir()
    with pytest.raises(InputError, match="not a name below"):
        read_data(f"coco:{root}")[0]
    lines = {"images.txt": "1 ../../secret.png", "classes.txt": "1 x", "image_class_labels.txt": "1 1",
             "train_test_split.txt": "1 0", "bounding_boxes.txt": "1 1 1 2 2"}  # fmt: skip
    for name, line in lines.items():
        text(root / name, line)
    with pytest.raises(InputError, match="not a name below"):
        read_data(f"cub:{root}")[0]


def test_cubs_masks_may_lie_beside(root: Path) -> None:
    """The official archive of segmentations unpacks there; nothing else there is read."""
    picture(root / "images" / "1.x" / "a.png")
    mask(root.parent / "segmentations" / "1.x" / "a.png", [[255] * 8] * 6)
    lines = {"images.txt": "1 1.x/a.png", "classes.txt": "1 1.x", "image_class_labels.txt": "1 1",
             "train_test_split.txt": "1 0", "bounding_boxes.txt": "1 1 1 2 2"}  # fmt: skip
    for name, line in lines.items():
        text(root / name, line)
    found = read_data(f"cub:{root}")[0].mask
    assert found is not None and found.all()


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "C:\\secret.png", "a\0b.png"])
def test_an_archive_is_never_unpacked(name: str, tmp_path: Path) -> None:
    """A member is looked up by its whole name and read into memory: such a name leads nowhere."""
    picture(tmp_path / "secret.png")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("images.csv", f"file\n{name}\n")
        archive.writestr("../evil.txt", "x")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError):
        read_data(tmp_path / "set.zip")[0]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
class TestLinks:
    def test_out_of_the_folder(self, root: Path) -> None:
        (root / "images" / "b.png").symlink_to(root.parent / "secret.png")
        with pytest.raises(InputError, match="links=follow"):
            read_data(root)
        assert len(read_data(f"{root}@links=follow")) == 2

    def test_of_a_whole_folder(self, root: Path) -> None:
        (root / "images" / "more").symlink_to(root.parent / "set-2")
        with pytest.raises(InputError, match="links=follow"):
            read_data(root)
        assert len(read_data(f"{root}@links=follow")) == 2

    def test_within_it(self, root: Path) -> None:
        (root / "images" / "b.png").symlink_to(root / "images" / "a.png")
        assert [sample.id for sample in read_data(root)] == ["a.png", "b.png"]

    def test_the_folder_itself_may_be_one(self, root: Path) -> None:
        (root.parent / "link").symlink_to(root)
        assert len(list(read_data(root.parent / "link"))) == 1

    @pytest.mark.parametrize("source", ["{}", "{}@links=follow"])
    def test_in_a_circle(self, source: str, root: Path) -> None:
        (root / "images" / "again").symlink_to(root / "images")
        (root / "images" / "twice").symlink_to(root / "images")
        with pytest.raises(InputError, match="circle"):
            read_data(source.format(root))

    def test_of_a_table(self, root: Path) -> None:
        text(root.parent / "other.csv", "file,label", "a.png,1")
        (root / "labels.csv").symlink_to(root.parent / "other.csv")
        with pytest.raises(InputError, match="links=follow"):
            read_data(root)

    def test_among_pictures_to_explain(self, root: Path) -> None:
        (root / "images" / "b.png").symlink_to(root.parent / "secret.png")
        with pytest.raises(InputError, match="name the file itself"):
            find_pictures([root / "images"])
        assert find_pictures([root / "images" / "b.png"])

    def test_a_pipe_is_not_waited_for(self, root: Path) -> None:
        os.mkfifo(root / "labels.csv")
        with pytest.raises(InputError, match="not a file"):
            read_data(root)
