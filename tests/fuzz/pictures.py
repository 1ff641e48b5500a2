"""Picture files of every format that is read, damaged, and read as a picture and as a mask."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
from fuzz.harness import Target
from fuzz.mutate import SIZES, damaged
from PIL import Image

from maskwise.data.dataset import Record
from maskwise.data.picture_files import PictureFiles
from maskwise.data.store import Store
from maskwise.formats import readable_formats
from maskwise.web import pictures as web

SIDE = 32
KINDS = {
    "JPEG": (("RGB", {}), ("L", {}), ("CMYK", {}), ("RGB", {"progressive": True}), ("RGB", {"restart_marker_rows": 1})),
    "PNG": (("RGB", {}), ("RGBA", {}), ("P", {}), ("L", {}), ("1", {}), ("I;16", {}), ("LA", {})),
    "GIF": (("P", {}), ("L", {"save_all": True})),
    "TIFF": tuple(
        (mode, {"compression": how})
        for mode, how in (
            ("RGB", None), ("RGB", "tiff_lzw"), ("RGB", "jpeg"), ("L", "tiff_deflate"), ("1", "group4"), ("F", None),
            ("I;16", None), ("I", None), ("RGBA", "packbits"), ("CMYK", None),
        )
    ),
    "WEBP": (("RGB", {}), ("RGBA", {"lossless": True}), ("RGB", {"save_all": True})),
    "BMP": (("RGB", {}), ("P", {}), ("1", {})),
    "PPM": (("RGB", {}), ("L", {}), ("1", {}), ("I;16", {}), ("F", {})),
    "AVIF": (("RGB", {}), ("RGBA", {"quality": 90}), ("L", {}), ("RGB", {"save_all": True})),
}  # fmt: skip
KINDS = {form: kinds for form, kinds in KINDS.items() if form in readable_formats()}


@cache
def seeds(form: str) -> tuple[bytes, ...]:
    """Valid files of one format: all modes, some with EXIF."""
    found = []
    for mode, options in KINDS[form]:
        buffer = io.BytesIO()
        picture, more = _picture(mode), {}
        # Pillow 12.3 ends with a segmentation fault when it writes an animated AVIF with EXIF; reading is another part.
        if form in ("JPEG", "PNG", "TIFF", "WEBP", "AVIF") and (form, options) != ("AVIF", {"save_all": True}):
            exif = Image.Exif()
            exif[0x0112], exif[0x010E], exif[0x011A] = 6, "a dog", 72.0
            exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
            more = {"exif": exif}
        if options.get("save_all"):
            more["append_images"] = [picture.rotate(90)]
        picture.save(buffer, form, **options, **more)  # type: ignore[arg-type]
        found.append(buffer.getvalue())
    return tuple(found)


def _picture(mode: str) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    values[:, : SIDE // 2] = 200  # noise alone hardly compresses, and then few bytes carry structure
    if mode == "I;16":
        return Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    picture = Image.fromarray(values)
    return picture.convert("L").convert("F") if mode == "F" else picture.convert(mode)


def make(form: str, random: Random) -> bytes:
    kinds = seeds(form)
    data = random.choice(kinds)
    if random.random() < 0.02:
        return data
    if random.random() < 0.05:
        data = huge(form, data, random)
        return data if random.random() < 0.5 else damaged(data, kinds, random)
    data = damaged(data, kinds, random)
    return mended(data) if form == "PNG" and random.random() < 0.7 else data


def huge(form: str, data: bytes, random: Random) -> bytes:
    """Another width and height in the header, up to what would need terabytes."""
    out = bytearray(data)
    width, height = (random.choice(SIZES) for _ in range(2))
    if form == "PNG":
        out[16:24] = struct.pack(">II", width % 2**32, height % 2**32)
        return mended(bytes(out))
    if form == "JPEG":
        start = max(out.find(b"\xff\xc0"), out.find(b"\xff\xc2"))
        out[start + 5 : start + 9] = struct.pack(">HH", height % 2**16, width % 2**16)
    elif form == "GIF":
        for start in (6, out.find(b"\x2c") + 5):
            out[start : start + 4] = struct.pack("<HH", width % 2**16, height % 2**16)
    elif form == "BMP":
        out[18:26] = struct.pack("<II", width % 2**32, height % 2**32)
    elif form == "AVIF":
        start = out.find(b"ispe") + 8
        out[start : start + 8] = struct.pack(">II", width % 2**32, height % 2**32)
    elif form == "PPM":
        return bytes(out).replace(b"%d %d" % (SIDE, SIDE), b"%d %d" % (width, height), 1)
    elif form == "WEBP":
        out[24:30] = struct.pack("<I", width % 2**24)[:3] + struct.pack("<I", height % 2**24)[:3]
    else:
        for tag, value in ((256, width), (257, height)):
            start = out.find(struct.pack("<H", tag))
            out[start + 8 : start + 12] = struct.pack("<I", value % 2**32)
    return bytes(out)


def mended(data: bytes) -> bytes:
    """A PNG with the right checksum in every chunk, so that the damage is looked at."""
    out, start = bytearray(data), 8
    while start + 12 <= len(out):
        (length,) = struct.unpack_from(">I", out, start)
        end = start + 8 + length
        if end + 4 > len(out):
            break
        struct.pack_into(">I", out, end, zlib.crc32(out[start + 4 : end]))
        start = end + 4
    return bytes(out)


@dataclass(frozen=True)
class Memory(Store):
    """Files that are not on a disk."""

    path: Path
    files: dict[str, bytes]

    def read(self, name: str) -> bytes:
        return self.files[name]

    def exists(self, name: str) -> bool:
        return name in self.files

    def title(self, name: str) -> str:
        return name


def read_picture(data: bytes, folder: Path) -> None:
    store = Memory(folder, {"a": data})
    sample = PictureFiles("fuzz", [Record("a")], store=store)[0]
    assert sample.image.ndim == 3 and sample.image.isfinite().all()
    assert sample.image.min() >= 0 and sample.image.max() <= 1
    sample.resized(SIDE)  # of a line, what lies between can be larger than both
    if max(sample.image.shape) < 20 * min(sample.image.shape[1:]):
        sample.shorter_side_crop(SIDE)


def read_mask(data: bytes, folder: Path) -> None:
    store = Memory(folder, {"a": seeds("PNG")[0], "m": data})
    PictureFiles("fuzz", [Record("a", masks=("m",))], store=store)[0]


def read_sent(data: bytes, folder: Path) -> None:
    web.open_picture(data)


def _any(random: Random) -> bytes:
    return make(random.choice(list(KINDS)), random)


TARGETS = [
    *(Target(form.lower(), 0.1, lambda random, form=form: make(form, random), read_picture) for form in KINDS),  # type: ignore[misc]
    Target("mask picture", 0.05, _any, read_mask),
    Target("sent to the page", 0.05, _any, read_sent),
]
