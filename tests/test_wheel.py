"""What is built is what works: the wheel and the sdist, and the wheel without the checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMOKE = """
import maskwise, sys
assert {place!r} in maskwise.__file__, maskwise.__file__
from maskwise.cli import app
from typer.testing import CliRunner
for command in ("methods", "metrics", "recipes", "classifiers", "datasets"):
    done = CliRunner().invoke(app, [command, "--json"])
    assert done.exit_code == 0 and done.stdout.startswith("["), done.output
done = CliRunner().invoke(app, ["demo", "--out", {out!r}])
assert done.exit_code == 0, done.output
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Where the wheel and the sdist are, and the copy that they were built of, without fetching anything."""
    pytest.importorskip("hatchling", reason="hatchling is not installed")
    pytest.importorskip("build", reason="build is not installed")
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("src", "tests", "docs"):
        shutil.copytree(ROOT / name, copy / name, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out, copy


def test_everything_is_in_the_wheel(built: tuple[Path, Path]) -> None:
    out, copy = built
    (wheel,) = out.glob("*.whl")
    (sdist,) = out.glob("*.tar.gz")
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        str(path.relative_to(copy / "src").as_posix())
        for path in (copy / "src" / "maskwise").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted <= names
    assert {"maskwise/py.typed", "maskwise/web/style.css", "maskwise/report/templates/page.html"} <= names
    assert any(name.endswith("entry_points.txt") for name in names)
    assert any(name.endswith("/LICENSE") for name in names)
    with tarfile.open(sdist) as archive:
        packed = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {f"src/{name}" for name in wanted} <= packed


@pytest.mark.slow
def test_the_wheel_works_without_the_checkout(built: tuple[Path, Path], tmp_path: Path) -> None:
    (wheel,) = built[0].glob("*.whl")
    place = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(place)
    code = f"import sys; sys.path.insert(0, {str(place)!r})\n"
    code += SMOKE.format(place=str(place), out=str(tmp_path / "demo"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "demo" / "report.html").is_file() and (tmp_path / "demo" / "figure.png").is_file()
