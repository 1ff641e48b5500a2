"""From a tag to a wheel to a clean virtual environment in which the wheel works.

    python scripts/release_smoke.py v0.2.0             # a tag of this repository
    python scripts/release_smoke.py --rehearse 0.2.0   # the same in a copy, where the release is made for practice

Nothing here is uploaded, and this checkout stays as it is. A rehearsal copies the last commit, sets the version, dates
the change log, commits and tags, in the copy. Then, for either: the tag must be the package's version and have its
part in the change log; wheel and sdist are built in isolation; the wheel is installed with its dependencies into a new
environment; and there, outside of any checkout, the commands that need no network run. Ends with 1 at the first that
fails.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSION = re.compile(r'^__version__ = "([^"]+)"$', re.M)
LEFT_OUT = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")  # the last makes torch load slowly
SMOKE = """
import sys, maskwise as mw
assert mw.__file__.startswith(sys.prefix), mw.__file__
assert mw.__version__ == {version!r}, mw.__version__
classifier = mw.load_classifier("efficientnet_lite0")
images = mw.load_images([{picture!r}], size=224)
maps = mw.explainer("distilled", classifier)(images)
assert maps.shape == (1, 224, 224) and 0 <= maps.min() and maps.max() <= 1
assert mw.boxes(maps).shape == (1, 4)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tag", nargs="?", help="of the release, such as v0.2.0")
    parser.add_argument("--rehearse", metavar="VERSION", help="make that release in a copy first")
    parser.add_argument("--keep", type=Path, help="leave wheel and sdist in this folder")
    given = parser.parse_args()
    if (given.tag is None) == (given.rehearse is None):
        parser.error("name a tag, or a version with --rehearse")
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "source"
        tag = given.tag or f"v{given.rehearse}"
        run(["git", "clone", "--quiet", str(ROOT), str(source)])
        if given.rehearse:
            release(source, given.rehearse)
        run(["git", "checkout", "--quiet", tag], source)
        check(source, tag)
        wheel = build(source, given.keep or Path(place) / "dist")
        smoke(wheel, tag.removeprefix("v"), source / "src/maskwise/assets/pictures/cat.jpg", Path(place) / "clean")
    print(f"{tag}: the wheel works in a clean environment")


def run(command: list[str], folder: Path | None = None, expected: int = 0) -> str:
    """What a command prints; without this checkout's own packages in its way.

    Raises:
        SystemExit: it ends with something else than ``expected``.
    """
    began = time.monotonic()
    environment = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    shown = " ".join([Path(command[0]).name, *command[1:]])[:90].replace("\n", " ")
    print(f"{time.monotonic() - began:6.1f} s  {shown}", flush=True)
    if done.returncode != expected:
        sys.exit(f"ended with {done.returncode}, not {expected}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout


def release(source: Path, version: str) -> None:
    """The release commit and its tag, as docs/releasing.md tells a person to make them."""
    init, changes, citation = source / "src/maskwise/__init__.py", source / "CHANGELOG.md", source / "CITATION.cff"
    init.write_text(VERSION.sub(f'__version__ = "{version}"', init.read_text()))
    citation.write_text(re.sub(r"^version: .*$", f"version: {version}", citation.read_text(), count=1, flags=re.M))
    text = changes.read_text().replace("## Unreleased\n", f"## Unreleased\n\n## {version} - {date.today()}\n", 1)
    changes.write_text(text)
    who = ["-c", "user.name=rehearsal", "-c", "user.email=rehearsal@localhost"]
    run(["git", *who, "commit", "--quiet", "--all", "--message", f"Release {version}"], source)
    run(["git", *who, "tag", "--annotate", f"v{version}", "--message", version], source)


def check(source: Path, tag: str) -> None:
    """Do tag, package, citation and change log speak of one version?

    Raises:
        SystemExit: they don't.
    """
    version = tag.removeprefix("v")
    found = VERSION.search((source / "src/maskwise/__init__.py").read_text())
    if found is None or found[1] != version:
        sys.exit(f"{tag}: the package calls itself {found[1] if found else 'nothing'}; set __version__ and tag again")
    if not re.search(rf"^version: {re.escape(version)}$", (source / "CITATION.cff").read_text(), re.M):
        sys.exit(f"{tag}: CITATION.cff names another version")
    part = re.search(
        rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)",
        (source / "CHANGELOG.md").read_text(),
        re.S | re.M,
    )
    if part is None or not part[1].strip():
        sys.exit(f"{tag}: CHANGELOG.md has no part '## {version} - DATE', or an empty one")


def build(source: Path, out: Path) -> Path:
    """The wheel, beside the sdist that it is built of."""
    out.mkdir(parents=True, exist_ok=True)
    uv = shutil.which("uv")
    command = [uv, "build", "--quiet", "--out-dir"] if uv else [sys.executable, "-m", "build", "--outdir"]
    run([*command, str(out), str(source)])
    wheels = list(out.glob("*.whl"))
    if len(wheels) != 1 or len(list(out.glob("*.tar.gz"))) != 1:
        sys.exit(f"{out}: one wheel and one sdist were expected, there are {sorted(p.name for p in out.iterdir())}")
    return wheels[0]


def smoke(wheel: Path, version: str, picture: Path, place: Path) -> None:
    """Installs the wheel with its dependencies, and nothing else, and uses it."""
    place.mkdir()
    run([sys.executable, "-m", "venv", "env"], place)
    binaries = place / "env" / ("Scripts" if os.name == "nt" else "bin")
    python, maskwise = str(binaries / "python"), str(binaries / "maskwise")
    uv = shutil.which("uv")
    pip = [uv, "pip"] if uv else [python, "-m", "pip"]
    into = ["--python", python] if uv else []
    run([*pip, "install", "--quiet", *into, str(wheel)], place)
    run([*pip, "check", *into], place)
    run([maskwise, "--help"], place)
    for command in ("methods", "metrics", "recipes", "classifiers", "datasets"):
        if not json.loads(run([maskwise, command, "--json"], place)):
            sys.exit(f"maskwise {command} lists nothing")
    run([maskwise, "doctor", "--offline"], place)
    shutil.copy(picture, place / "cat.jpg")
    run([python, "-c", SMOKE.format(version=version, picture="cat.jpg")], place)
    run([maskwise, "explain", "cat.jpg", "--method", "grad_cam", "--out", "explained", "--quiet"], place)
    run([maskwise, "evaluate", "--data", "shapes:n=4,size=64", "--method", "distilled", "--quiet"], place)
    run([maskwise, "explain", "nothing.jpg"], place, expected=2)
    run([maskwise, "demo", "--out", "demo"], place)
    for made in ("demo/report.html", "demo/figure.png"):
        if not (place / made).is_file():
            sys.exit(f"maskwise demo wrote no {made}")


if __name__ == "__main__":
    main()
