"""Which files are pictures that are read here, and what a file is that is none of them."""

from __future__ import annotations

import re
from functools import cache

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
HEIC_SUFFIXES = (".heic", ".heif")  # pictures, too, as telephones make them, which Pillow alone does not read
MAP_SUFFIXES = (".npy", ".npz", ".png")  # of maps that anybody made
# Pillow reads dozens more, some through other programs (PostScript); what is read here is also fuzzed.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/{1,2}(?=[^/])")  # of two slashes a path keeps one; one letter is a drive
HEAD = 512  # bytes that tell one kind of file from another

NO_DATA = "{}: neither a folder nor a zip archive of pictures"
NO_IMAGES = "{}: has no folder images/, and no pictures of its own"
NO_PICTURES = "{}: holds no pictures"
NO_MAPS = f"{{}}: the folder holds no maps ({', '.join(MAP_SUFFIXES)})"
EXPLAINED_MAPS = (
    "{}: holds what `maskwise explain` wrote, a folder a picture, and maps are a file a picture: copy each map.npy "
    "to a folder of maps, called as its picture"
)
NOT_A_MAP_FOLDER = "{}: {}; maps come in a folder, a file a picture"
ALL_FILES = "{}: is the folder of all files; name the one that is meant"
AS_JPEG = "save it as JPEG or PNG, as `magick A B.jpg` does"
OTHER_TIFF = (
    "a TIFF that is damaged or of a kind that is not read, such as colours in floats: save it with 8 bits a channel"
)
# First bytes, where they begin, what they are of.
KINDS = (
    (b"8BPS", 0, f"a Photoshop file: {AS_JPEG}"),
    (b"%PDF", 0, "a PDF: save its page as PNG"),
    (b"\xff\x0a", 0, f"a JPEG XL picture: {AS_JPEG}"),
    (b"\0\0\0\x0cJXL ", 0, f"a JPEG XL picture: {AS_JPEG}"),
    (b"\0\0\0\x0cjP  ", 0, f"a JPEG 2000 picture: {AS_JPEG}"),
    (b"DICM", 128, "a DICOM file: save its picture as PNG or TIFF of 16 bits"),
    (b"\x93NUMPY", 0, "a NumPy array: save it as a picture"),
    (b"version https://git-lfs", 0, "only a pointer of Git LFS: fetch the file itself by `git lfs pull`"),
    (b"II*\0", 0, OTHER_TIFF),
    (b"MM\0*", 0, OTHER_TIFF),
)
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


@cache
def readable_formats() -> tuple[str, ...]:
    """Those of ``FORMATS`` that the installed Pillow reads, AVIF since 11.3; HEIC where pillow-heif is installed."""
    known = tuple(name for name in FORMATS if name != "AVIF" or _reads_avif())
    return (*known, "HEIF") if _reads_heic() else known


def _reads_heic() -> bool:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _reads_avif() -> bool:
    from PIL import features  # not above: the command line's help reads this file, too

    return "avif" in features.modules and bool(features.check("avif"))


def what_it_is(head: bytes) -> str | None:
    """What a file is that is no picture to be read, and how to make it one; None where its first bytes don't tell.

    Args:
        head: its first ``HEAD`` bytes.

    Example:
        >>> what_it_is(b"%PDF-1.7")
        'a PDF: save its page as PNG'
    """
    if head[4:8] == b"ftyp":
        if head[8:12] in (b"avif", b"avis"):
            return f"an AVIF picture that can't be read (Pillow 11.3 or newer reads AVIF): {AS_JPEG}"
        if head[8:12] in HEIC_BRANDS:
            return (
                f"a HEIC picture: to read it install pillow-heif (pip install pillow-heif), or {AS_JPEG} (a telephone "
                "can be set to make JPEGs)"
            )
    for mark, start, what in KINDS:
        if head[start : start + len(mark)] == mark:
            return what
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page: save the picture that it shows"
    if text.startswith((b"<svg", b"<?xml")) and b"<svg" in text:
        return "a drawing (SVG): save it as PNG"
    return None


def is_url(text: str) -> bool:
    """Is it a URL, also as a path writes it (``https:/…``)?

    Example:
        >>> is_url("https:/example.org/dog.jpg"), is_url("C:/dog.jpg"), is_url("dog.jpg")
        (True, False, False)
    """
    return URL.match(text) is not None
