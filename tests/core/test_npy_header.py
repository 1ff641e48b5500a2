"""Headers of ``.npy`` files: as NumPy reads them, and nothing else."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib import format as npy_format

from maskwise.core.errors import InputError
from maskwise.core.npy import mapped_npy, read_npy
from maskwise.core.npy_header import read_npy_header

ARRAYS: dict[str, Any] = {
    "float32": np.zeros((2, 3), np.float32),
    "big endian": np.zeros((4,), ">f8"),
    "no side": np.array(5),
    "a side of 0": np.zeros((0, 3), np.int16),
    "columns first": np.asfortranarray(np.zeros((4, 5), np.uint8)),
    "truth values": np.zeros(7, bool),
    "complex": np.zeros(2, np.complex64),
    "text": np.array(["a", "bcd"]),
    "bytes": np.array([b"a", b"bcd"]),
    "dates": np.zeros(3, "M8[s]"),
    "dates of ten seconds": np.zeros(3, "M8[10s]"),
    "void": np.zeros(3, "V7"),
    "objects": np.array([None, {}], object),
    "seven sides": np.zeros((1,) * 7),
}


def written(array: Any, version: tuple[int, int] | None = None) -> bytes:
    stream = io.BytesIO()
    npy_format.write_array(stream, np.asarray(array), version=version)
    return stream.getvalue()


def with_header(text: str, length: int | None = None) -> bytes:
    head = text.encode("latin1")
    return b"\x93NUMPY\1\0" + (len(head) if length is None else length).to_bytes(2, "little") + head


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("name", ARRAYS)
def test_as_numpy_reads_them(name: str, version: tuple[int, int]) -> None:
    array = ARRAYS[name]
    content = written(array, version)
    theirs, mine = io.BytesIO(content), io.BytesIO(content)
    npy_format.read_magic(theirs)
    expected = (npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0)(theirs)
    assert tuple(read_npy_header(mine)) == expected
    assert mine.tell() == theirs.tell()


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }          \n",
        "{'shape':(2,3),'fortran_order':False,'descr':'<f4'}",
        '{"descr": "<f4", "fortran_order": False, "shape": (2, 3)}',
        "{u'descr': u'<f4', u'fortran_order': False, u'shape': (2L, 3L), }\n",
        "  { 'descr' : '<f4' , 'fortran_order' : False , 'shape' : ( 2 , 3 , ) , } ",
    ],
)
def test_what_other_programs_write(text: str) -> None:
    assert read_npy_header(io.BytesIO(with_header(text))) == ((2, 3), False, np.dtype("<f4"))


def test_records_have_no_kind_of_number() -> None:
    records = np.zeros(3, [("key", "S4"), ("row", "<f2", (5,))])
    assert read_npy_header(io.BytesIO(written(records))) == ((3,), False, None)
    with pytest.raises(InputError, match="^hold records, and numbers are wanted"):
        read_npy(io.BytesIO(written(records)), 100)


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\1",
        b"\x93NUMPY\4\0" + with_header(GOOD)[8:],
        b"\x93NUMPY\1\1" + with_header(GOOD)[8:],
        b"\x93NUMPX" + with_header(GOOD)[6:],
        with_header(GOOD, length=len(GOOD) + 1),
        with_header(" " * 10_000 + GOOD),
        with_header(GOOD[1:]),
        with_header(GOOD[:-1]),
        with_header(GOOD + "5"),
        with_header(GOOD.replace(", 'shape': (2, 3)", "")),
        with_header(GOOD.replace("False", "0")),
        with_header(GOOD.replace("'<f4'", "True")),
        with_header(GOOD.replace("(2, 3)", "'<f4'")),
        with_header(GOOD.replace("(2, 3)", "(2 3)")),
        with_header(GOOD.replace("(2, 3)", "(--2, 3)")),
        with_header(GOOD.replace("(2, 3)", "2")),
        with_header(GOOD.replace("<f4", "<f3")),
        with_header(GOOD.replace("<f4", "f4,f4")),
        with_header(GOOD.replace("'<f4'", "__import__('os')")),
        b"\x93NUMPY\3\0\4\0\0\0\xff\xff\xff\xff",
    ],
)
def test_anything_else_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError):
        read_npy_header(io.BytesIO(content))
    with pytest.raises(InputError, match="damaged, or no arrays of NumPy"):
        read_npy(io.BytesIO(content), 100)


def test_a_mapped_array(tmp_path: Path) -> None:
    for array in (np.arange(24.0).reshape(2, 3, 4), np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3))):
        np.save(tmp_path / "a.npy", array)
        mapped = mapped_npy(tmp_path / "a.npy")
        assert isinstance(mapped, np.memmap) and mapped.dtype == array.dtype and not mapped.flags.writeable
        np.testing.assert_array_equal(mapped, array)
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-1])
    with pytest.raises(ValueError):
        mapped_npy(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.array([None], object))
    with pytest.raises(ValueError):
        mapped_npy(tmp_path / "a.npy")


@pytest.mark.parametrize("read", [lambda path: read_npy(io.BytesIO(path.read_bytes()), 6), mapped_npy])
def test_python_s_parser_is_not_asked(
    read: Callable[[Path], np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In CPython 3.11 it fails at random where other threads are in it as well: good files were refused."""

    def fails(text: str) -> None:
        raise SystemError("AST constructor recursion depth mismatch (before=18, after=14)")

    np.save(tmp_path / "a.npy", ARRAYS["float32"])
    monkeypatch.setattr("ast.literal_eval", fails)
    with pytest.raises(SystemError):
        np.load(tmp_path / "a.npy")
    assert read(tmp_path / "a.npy").shape == (2, 3)
