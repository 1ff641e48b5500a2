"""Files of ``torch.save`` that are small and would become large, or ask for what no network here has."""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import torch


class Calls:
    """Pickled as a call of ``function`` with ``arguments``."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


class Storage:
    """Pickled as one that has ``count`` floats, in the way of ``torch.save``."""

    def __init__(self, count: int, kind: type = torch.FloatStorage, key: str = "0") -> None:
        self.identity = ("storage", kind, key, "cpu", count)


class _Pickler(pickle.Pickler):
    def persistent_id(self, one: Any) -> Any:
        return one.identity if isinstance(one, Storage) else None


def pickled(content: Any) -> bytes:
    """By a pickler that lets storages be announced."""
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=2).dump(content)
    return buffer.getvalue()


def zipped(content: Any, data: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A file of ``torch.save`` with this pickle and these storages."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled(content))
        archive.writestr("archive/byteorder", b"little")
        for key, numbers in data.items():
            archive.writestr(f"archive/data/{key}", numbers)
        archive.writestr("archive/version", b"3\n")
    return buffer.getvalue()


def legacy(content: Any) -> bytes:
    """The same as files were before PyTorch 1.6, without numbers after it."""
    parts = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}, content)
    return b"".join(map(pickled, (*parts, ["0"])))


def tensor(storage: Storage, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> Calls:
    from torch._utils import _rebuild_tensor_v2

    return Calls(_rebuild_tensor_v2, storage, offset, shape, strides, False, {})


def saved(value: Any, new: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save({"a": value}, buffer, _use_new_zipfile_serialization=new)
    return buffer.getvalue()


def overlapping() -> bytes:
    """A directory in which one megabyte is listed a thousand times, under other names."""
    whole = zipped({}, {"000": bytes(2**20)})
    place = whole.rindex(b"PK\x05\x06")
    start = whole.index(b"PK\x01\x02")
    entries = [b"PK\x01\x02" + entry for entry in whole[start:place].split(b"PK\x01\x02")[1:]]
    (one,) = (entry for entry in entries if b"data/000" in entry)
    more = [one.replace(b"data/000", f"data/{i:03}".encode()) for i in range(1, 1000)]
    listed, end = b"".join(entries + more), bytearray(whole[place:])
    end[8:12] = (len(entries) + len(more)).to_bytes(2, "little") * 2
    end[12:16] = len(listed).to_bytes(4, "little")
    return whole[:start] + listed + bytes(end)


def two_directories() -> bytes:
    """One where Python's reader looks, right before the end mark, and is content; another one where the mark says."""
    small, large = (zipped({"a": tensor(Storage(n), (n,), (1,))}, {"0": bytes(4 * n)}) for n in (2, 3))
    place, start, other = small.rindex(b"PK\x05\x06"), small.index(b"PK\x01\x02"), large.index(b"PK\x01\x02")
    end, listed = bytearray(small[place:]), bytearray(small[start:place])
    end[16:20] = other.to_bytes(4, "little")
    at = listed.find(b"PK\x01\x02")
    while at >= 0:  # where each member lies, counted as that reader counts it
        old = int.from_bytes(listed[at + 42 : at + 46], "little")
        listed[at + 42 : at + 46] = (old - start + other).to_bytes(4, "little")
        at = listed.find(b"PK\x01\x02", at + 4)
    whole = large + small[:start] + bytes(listed) + bytes(end)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert archive.read("archive/data/0") == bytes(8)
    return whole


def bombs() -> dict[str, bytes]:
    """By what is wrong with it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # quantised tensors are on their way out
        quantised = torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.qint8)
        sparse = torch.zeros(2, 2).to_sparse()
    eight = bytes(8)
    found = {
        "a buffer of any size": zipped({"a": Calls(bytearray, 2**40)}, {}),
        "a tensor of any size": zipped({"a": Calls(torch.Tensor, 2**33)}, {}),
        "more numbers than are there": zipped({"a": tensor(Storage(2**33), (2**33,), (1,))}, {"0": eight}),
        "a shape beyond its storage": zipped({"a": tensor(Storage(2), (2**33,), (1,))}, {"0": eight}),
        "an offset beyond its storage": zipped({"a": tensor(Storage(2), (1,), (1,), 2**40)}, {"0": eight}),
        "strides beyond its storage": zipped({"a": tensor(Storage(2), (2, 2), (2**40, 1))}, {"0": eight}),
        "overlapping strides": zipped({"a": tensor(Storage(200), (100, 100), (1, 1))}, {"0": bytes(800)}),
        "a negative stride": zipped({"a": tensor(Storage(2), (2,), (-1,))}, {"0": eight}),
        "thirty dimensions": zipped({"a": tensor(Storage(2), (1,) * 30, (1,) * 30)}, {"0": eight}),
        "two sizes": zipped(
            {"a": tensor(Storage(2), (2,), (1,)), "b": tensor(Storage(2**40), (2,), (1,))}, {"0": eight}
        ),
        "no numbers": zipped({"a": tensor(Storage(2), (2,), (1,))}, {}),
        "deflated": zipped({"a": tensor(Storage(2**22), (2**22,), (1,))}, {"0": bytes(2**24)}, zipfile.ZIP_DEFLATED),
        "overlapping members": overlapping(),
        "two directories": two_directories(),
        "a storage made by hand": zipped({"a": Calls(torch.UntypedStorage, 2**36)}, {}),
        "legacy: more numbers than the file has": legacy({"a": tensor(Storage(2**33), (2**33,), (1,))}),
        "legacy: a text of any length": b"\x80\x02\x8d" + (2**40).to_bytes(8, "little") + bytes(8),
        "legacy: bytes of any length": b"\x80\x02\x8e" + (2**62).to_bytes(8, "little") + bytes(8),
        "legacy: a buffer of any size": legacy({"a": Calls(bytearray, 2**40)}),
    }
    for name, value in (
        ("expanded", torch.zeros(2).expand(2**30, 2)), ("complex", torch.zeros(2, dtype=torch.complex64)),
        ("sparse", sparse), ("quantised", quantised), ("without values", torch.zeros(2, device="meta")),
        ("float8", torch.zeros(2).to(torch.float8_e4m3fn)),
    ):  # fmt: skip
        found |= {f"{name}, {'zip' if new else 'legacy'}": saved(value, new) for new in (True, False)}
    return found
