"""onnxruntime-web, which the user fetches: where its files are, and where a page looks for them."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from maskwise.core.errors import InputError

FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
USUAL = Path("node_modules/onnxruntime-web/dist")
HOME = "runtime/"  # in the page's folder


@dataclass(frozen=True)
class Runtime:
    """Which onnxruntime-web a page uses.

    Attributes:
        address: relative to the page, ends in a slash.
        files: to be copied there; none where something else puts them there.
        version: as its package.json says; None where there is none.
    """

    address: str
    files: tuple[Path, ...] = ()
    version: str | None = None

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.files)

    def copy(self, page: Path) -> None:
        """Puts the files into folder ``page``."""
        for path in self.files:
            (page / self.address).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, page / self.address / path.name)


def find_runtime(runtime: str | Path | None = None, runtime_at: str | None = None) -> Runtime:
    """The runtime of a page.

    Args:
        runtime: onnxruntime-web's ``dist`` folder, or one that holds it, such as npm's; its files are copied. None is
            ``node_modules/onnxruntime-web/dist`` below the current folder.
        runtime_at: a path relative to the page, such as ``../runtime``, where its files will be; nothing is copied.

    Raises:
        InputError: both are given, the files are not there, or the path is an address of another server.
    """
    if runtime_at is not None:
        if runtime is not None:
            raise InputError("`runtime` copies the files and `runtime_at` says where they are: give one of the two")
        if re.match(r"[a-z][a-z0-9+.-]*:|//", runtime_at, re.I) or "\\" in runtime_at:
            raise InputError(
                f"`runtime_at={runtime_at}`: the page asks no other server; give a path relative to the page, such as "
                "../runtime"
            )
        return Runtime(runtime_at.rstrip("/") + "/")
    asked = USUAL if runtime is None else Path(runtime)
    for folder in (asked, asked / "dist", asked / "onnxruntime-web" / "dist", asked / USUAL):
        paths = tuple(folder / name for name in FILES)
        if all(path.is_file() for path in paths):
            return Runtime(HOME, paths, _version(folder.parent / "package.json"))
    raise InputError(
        f"onnxruntime-web is not in {str(asked)!r} ({' and '.join(FILES)}): run `npm install onnxruntime-web`, then "
        "give its folder node_modules/onnxruntime-web/dist as `runtime`"
    )


def _version(package: Path) -> str | None:
    try:
        found = json.loads(package.read_text(encoding="utf-8")).get("version")
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None
