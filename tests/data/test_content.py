"""Digests of content: equal for equal files wherever they lie, others for any change; files are read once."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
from data.making import picture, text
from PIL import Image

from maskwise.core.errors import InputError
from maskwise.data import DataSet, read_data
from maskwise.data.content import content_digest, content_digests, digests_of, picture_digests
from maskwise.data.file_digests import file_digests
from maskwise.data.pack import pack


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MASKWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("maskwise.data.file_digests.YOUNG", -(10**18))  # files of this minute are remembered, too
    return tmp_path / "cache"


def repaint(path: Path) -> None:
    """Another picture of the same name, size and number of bytes."""
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(bytes(data))


def bitmaps(root: Path) -> Path:
    (root / "images").mkdir(parents=True)
    for i in range(3):
        Image.new("RGB", (8, 8), (i * 50, 0, 0)).save(root / "images" / f"{i}.bmp")
    (root / "labels.csv").write_text("file,label\n0.bmp,0\n1.bmp,1\n2.bmp,2\n")
    (root / "boxes.csv").write_text("file,x0,y0,x1,y1\n0.bmp,1,1,5,5\n")
    (root / "masks").mkdir()
    Image.new("L", (8, 8), 255).save(root / "masks" / "1.png")
    return root


def changed(root: Path) -> list[bool]:
    """Which records have another digest than a fresh copy of the folder."""
    return [a != b for a, b in zip(content_digests(read_data(root)), FRESH, strict=True)]


FRESH: list[str] = []


def test_a_folder(tmp_path: Path) -> None:
    root, twin = bitmaps(tmp_path / "a"), bitmaps(tmp_path / "b")
    FRESH[:] = content_digests(read_data(twin))
    assert changed(root) == [False] * 3, "where it lies does not matter"
    assert len(set(FRESH)) == 3
    repaint(root / "images" / "2.bmp")
    assert changed(root) == [False, False, True]
    (root / "boxes.csv").write_text("file,x0,y0,x1,y1\n0.bmp,1,1,5,6\n")
    assert changed(root) == [True, False, True]
    Image.new("L", (8, 8), 0).save(root / "masks" / "1.png")
    assert changed(root) == [True] * 3


def test_files_are_read_once(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    first = file_digests([path])[path]
    assert (cache / "digests.db").is_file()
    status = path.stat()
    path.chmod(0o000) if os.getuid() else None
    reads: list[Path] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("maskwise.data.file_digests._digest", lambda p: reads.append(p) or "read")
        assert file_digests([path])[path] == first and not reads
        path.chmod(0o644)
        path.write_bytes(b"two")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # a tool that keeps times can't keep that of inodes
        assert file_digests([path])[path] == "read" and reads == [path]


def test_a_young_file_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskwise.data.file_digests.YOUNG", 2_000_000_000)
    (tmp_path / "a").write_bytes(b"one")
    file_digests([tmp_path / "a"])
    assert not (tmp_path / "cache" / "digests.db").exists()


def test_a_memory_that_is_broken_is_none(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    right = file_digests([tmp_path / "a"])
    (cache / "digests.db").write_bytes(b"no data base" * 100)
    assert file_digests([tmp_path / "a"]) == right
    with pytest.raises(InputError, match="no such file"):
        file_digests([tmp_path / "none"])


def test_an_archive(tmp_path: Path) -> None:
    def made(name: str, colour: int) -> DataSet:
        root = bitmaps(tmp_path / name)
        Image.new("RGB", (8, 8), (colour, 1, 1)).save(root / "images" / "1.bmp")
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr("top/images.csv", "file,label\nimages/0.bmp,0\nimages/1.bmp,1\n")
            for path in sorted((root / "images").iterdir()):
                archive.write(path, f"top/images/{path.name}")
        return read_data(tmp_path / f"{name}.zip")

    one, same, other = (content_digests(made(*given)) for given in (("a", 7), ("b", 7), ("c", 8)))
    assert one == same and [a != b for a, b in zip(one, other, strict=True)] == [False, True]


def test_a_picture_under_two_names_is_one(tmp_path: Path) -> None:
    root = bitmaps(tmp_path / "a")
    first = sorted((root / "images").iterdir())[0]
    (root / "images" / "zzz.bmp").write_bytes(first.read_bytes())
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("top/images.csv", "file\nimages/0.bmp\nimages/1.bmp\nimages/2.bmp\nimages/zzz.bmp\n")
        for path in sorted((root / "images").iterdir()):
            archive.write(path, f"top/images/{path.name}")
    for data in (read_data(root), read_data(tmp_path / "a.zip")):
        alone, whole = picture_digests(data), content_digests(data)
        assert alone[0] == alone[-1] and len(set(alone)) == len(alone) - 1 and len(set(whole)) == len(whole)
        both = [(data, record) for record in data.records]
        assert digests_of(both[::-1]) == whole[::-1] and digests_of(both, picture_digests) == alone


def test_drawn_doubled_and_packed(tmp_path: Path) -> None:
    shapes = [content_digest(read_data(f"shapes:n=3,size=32,{rest}")) for rest in ("seed=0", "seed=1", "objects=2")]
    assert len(set(shapes)) == 3 and shapes[0] == content_digest(read_data("shapes:n=3,size=32,seed=0"))
    twins = content_digests(read_data("twins:shapes:n=3,size=32,seed=0"))
    assert twins != content_digests(read_data("twins:shapes:n=3,size=32,seed=1"))
    pack(read_data("shapes:n=3,size=32,seed=0"), tmp_path / "s")
    before = content_digests(read_data(tmp_path / "s"))
    (shard,) = (tmp_path / "s").glob("*.tar")
    data = bytearray(shard.read_bytes())
    data[600] ^= 1
    shard.write_bytes(bytes(data))
    assert content_digests(read_data(tmp_path / "s")) != before


@pytest.mark.parametrize("change", ["picture", "box", "count"])
@pytest.mark.parametrize("finished", [True, False])
def test_a_packing_of_what_changed_is_refused(change: str, finished: bool, tmp_path: Path) -> None:
    root, out = bitmaps(tmp_path / "a"), tmp_path / "s"

    def stop(done: int, total: int) -> None:
        if not finished:
            raise KeyboardInterrupt

    try:
        pack(read_data(root), out, count=2, progress=stop)
    except KeyboardInterrupt:
        assert (out / "packing.json").is_file()
    before = sorted(path.name for path in out.iterdir())
    if change == "picture":
        repaint(root / "images" / "0.bmp")
    elif change == "box":
        (root / "boxes.csv").write_text("file,x0,y0,x1,y1\n0.bmp,1,1,5,6\n")
    said = "`count` differ" if change == "count" else "pictures, truth or classes differ"
    with pytest.raises(InputError, match=said):
        pack(read_data(root), out, count=1 if change == "count" else 2)
    assert sorted(path.name for path in out.iterdir()) == before


def test_whose_pictures_they_are_is_a_part_of_what_they_are(tmp_path: Path) -> None:
    """What is held out, and how sure a number is, depends on it; of pictures without one nothing changes."""
    home = tmp_path / "home"
    for i in range(3):
        picture(home / "images" / f"{i}.png", value=40 + i)
    before = content_digests(read_data(home))
    text(home / "subjects.csv", "file,subject", "0.png,P1", "1.png,P1", "2.png,")
    with pytest.warns(UserWarning, match="names no subject of 1 of 3"):
        after = content_digests(read_data(home))
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, False, True]
