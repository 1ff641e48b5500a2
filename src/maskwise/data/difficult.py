"""Lists of the pointing game's difficult cases, for data sets with a published one (Zhang et al. 2016)."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from maskwise.core.errors import InputError
from maskwise.data.tables import fields


@dataclass(frozen=True)
class DifficultCases:
    """Which classes of which pictures are difficult.

    Attributes:
        name: the file's name and a checksum of it: what stands in a protocol.
        listed: a picture's name without folder and ending, to its difficult classes, by index or name, as text.
        unlisted: are all classes of a picture that is not listed difficult?
    """

    name: str
    listed: Mapping[str, frozenset[str]]
    unlisted: bool

    @classmethod
    def read(cls, path: str | Path) -> DifficultCases:
        """From a text file, of one of two kinds; fields are parted by tabs, commas or spaces.

        ``PICTURE CLASS``, a difficult case a line, the class by name or index; what is not listed is not difficult.
        Or, as TorchRay ships the lists of Zhang et al., ``PICTURE FLAG FLAG …``, a picture a line and a 0 or 1 for
        each class; there a picture that is not listed counts as difficult, as it does in TorchRay.

        Raises:
            InputError: it can't be read, or is of neither kind.
        """
        try:
            data = Path(path).read_bytes()
            lines = data.decode("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: can't be read as a list of difficult cases ({error})") from None
        separator = next((s for s in "\t," if any(s in line for line in lines)), None)
        rows = list(fields("\n".join(lines), str(path), 2, separator))
        if not rows:
            raise InputError(f"{path}: lists no difficult case")
        flags = len(rows[0]) > 2
        listed: dict[str, frozenset[str]] = {}
        for number, (picture, *rest) in enumerate(rows, 1):
            if len(rest) != len(rows[0]) - 1 or (flags and not set(rest) <= {"0", "1"}):
                raise InputError(f"{path}: entry {number} is neither PICTURE CLASS nor PICTURE and a 0 or 1 a class")
            classes = {str(i) for i, flag in enumerate(rest) if flag == "1"} if flags else set(rest)
            listed[stem(picture)] = listed.get(stem(picture), frozenset()) | classes
        return cls(f"{Path(path).name}#{zlib.crc32(data):08x}", listed, flags)

    def of(self, picture: str, classes: Iterable[int], names: Sequence[str] | None) -> frozenset[int]:
        """Those of a picture's classes that are difficult.

        Args:
            picture: its id.
            classes: indices among the data set's classes.
            names: of those classes.

        Example:
            >>> cases = DifficultCases("x", {"0001": frozenset({"cat", "2"})}, unlisted=False)
            >>> sorted(cases.of("val/0001.jpg", [0, 1, 2], ("cat", "dog", "cow")))
            [0, 2]
        """
        listed = self.listed.get(stem(picture))
        if listed is None:
            return frozenset(classes if self.unlisted else ())
        return frozenset(
            c for c in classes if str(c) in listed or (names and 0 <= c < len(names) and names[c] in listed)
        )


def stem(picture: str) -> str:
    """A picture's name without folder and without all that follows the first point."""
    return PurePosixPath(picture).name.split(".")[0]
