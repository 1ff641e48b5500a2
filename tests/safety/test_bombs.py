"""Small files that would become large: pictures, archives, tables, XML."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from data.making import picture, text, xml
from fuzz import tables

from maskwise.core.errors import InputError
from maskwise.data import read_data
from maskwise.data.store import MOST_BYTES, MOST_TEXT
from maskwise.data.voc_xml import read_xml
from maskwise.images import load_image
from maskwise.picture_headers import MAX_PIXELS


def png(width: int, height: int, data: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def refused(call: Callable[[], object], match: str) -> None:
    """With a clear line, and in less than 64 MB of Python's memory."""
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=match) as caught:
            call()
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("width", "height"), [(50_000, 50_000), (2**31 - 1, 2**31 - 1), (MAX_PIXELS + 1, 1)])
def test_a_picture_that_says_it_is_huge(width: int, height: int, tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(width, height, bytes(1000)))
    refused(lambda: load_image(path), "pixels|damaged|known")


def test_only_formats_that_are_fuzzed_are_opened(tmp_path: Path) -> None:
    """PostScript, which Pillow hands to another program, least of all."""
    path = tmp_path / "page.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    with pytest.raises(InputError, match="not a picture"):
        load_image(path)


def zipped(path: Path, name: str, data: bytes, declared: int | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.csv", "file\na.png\n" if name != "images.csv" else data)
        if name != "images.csv":
            archive.writestr(name, data)
    if declared is not None:  # in the local header and in the directory
        raw = path.read_bytes().replace(struct.pack("<I", len(data)), struct.pack("<I", declared))
        path.write_bytes(raw)
    return path


def test_a_zip_whose_member_explodes(tmp_path: Path) -> None:
    table = zipped(tmp_path / "t.zip", "images.csv", b"\n" * (MOST_TEXT + 1))
    assert table.stat().st_size < 100_000
    refused(lambda: read_data(table), "unpacks to more than")
    large = zipped(tmp_path / "p.zip", "a.png", b"x" * 1000, declared=MOST_BYTES + 1)
    refused(lambda: read_data(large)[0], "unpacks to more than")


def test_a_zip_that_lies_about_a_size(tmp_path: Path) -> None:
    lying = zipped(tmp_path / "l.zip", "a.png", b"x" * 100_000_000, declared=1000)
    assert lying.stat().st_size < 200_000
    refused(lambda: read_data(lying)[0], "can't be read")


def test_a_gzipped_table_that_explodes(tmp_path: Path) -> None:
    picture(tmp_path / "val" / "a.png")
    (tmp_path / "ilsvrc2012_val_boxes.csv.gz").write_bytes(gzip.compress(b"\n" * (2 * MOST_TEXT)))
    with pytest.raises(InputError, match="unpacks to more than"):
        read_data(f"imagenet:{tmp_path}@val")


def test_a_class_index_that_would_be_a_long_table(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a_1.jpg")
    text(tmp_path / "annotations" / "trainval.txt", "a_1 999999999999 1 1")
    refused(lambda: read_data(f"pets:{tmp_path}"), "not a class index")


@pytest.mark.parametrize(
    "data", [tables.BOMB, tables.OUTSIDE, '<!DOCTYPE a [<!ENTITY % p SYSTEM "http://x/">%p;]><a/>']
)
def test_xml_with_entities(data: str) -> None:
    refused(lambda: read_xml(data.encode(), "a.xml", (0, 0, 0, 0)), "DTD or entities")


def test_deep_xml_is_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no name"):
        read_xml(tables.DEEP.encode(), "a.xml", (0, 0, 0, 0))
    assert len(read_xml(xml(tmp_path / "a.xml", ("dog", 1, 1, 5, 5, 0)).read_bytes(), "a.xml", (0, 0, 0, 0))) == 1
