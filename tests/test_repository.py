"""The repository's habits: what runs before a commit, and what a release is held to."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from script_files import loaded

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def hooks() -> dict[str, dict[str, Any]]:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    return {hook["id"]: hook for repo in config["repos"] for hook in repo["hooks"]}


def test_hooks_are_the_tools_of_make_lint(hooks: dict[str, dict[str, Any]]) -> None:
    """Nothing is fetched for them, and what they run is what `make lint` runs."""
    lint = (ROOT / "Makefile").read_text(encoding="utf-8").split("lint:")[1].split("\n\n")[0]
    for name, said in [("ruff-check", "ruff check"), ("ruff-format", "ruff format"), ("mypy", "mypy")]:
        assert hooks[name]["entry"].startswith(f".venv/bin/{said}") and f"$(BIN)/{said}" in lint
        if name != "mypy":
            places = hooks[name]["files"].removeprefix("^(").removesuffix(")/").split("|")
            assert f"{' '.join(places)}\n" in lint
    assert {hook["language"] for hook in hooks.values()} == {"system", "pygrep"}


@pytest.mark.parametrize(
    ("line", "caught"),
    [
        ("pip install --index-url https://somewhere/x maskwise", True),
        ("extra_index_url = y", True),
        ("PIP_FIND_LINKS=/wheels", True),
        ("--trusted-host some.host", True),
        ('url = "https://host.example/api/simple/"', True),
        ("uv pip install -e '.[dev]' -c constraints.txt", False),
        ("see https://simple.example/page", False),
        ("the index of links", False),
    ],
)
def test_no_address_of_a_package_index(line: str, caught: bool, hooks: dict[str, dict[str, Any]]) -> None:
    assert bool(re.search(hooks["no-index"]["entry"], line, re.IGNORECASE)) == caught


def test_no_file_here_has_one(hooks: dict[str, dict[str, Any]]) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    pattern = re.compile(hooks["no-index"]["entry"].encode(), re.IGNORECASE)
    exempt = hooks["no-index"]["exclude"]
    names = [name for name in listed.stdout.decode().split("\0") if name and not re.search(exempt, name)]
    found = [n for n in names if (ROOT / n).is_file() and pattern.search((ROOT / n).read_bytes())]
    assert len(names) > 100 and not found


@pytest.fixture(scope="module")
def releases() -> ModuleType:
    return loaded(ROOT / "scripts" / "release_smoke.py")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A repository about to be released."""
    (tmp_path / "src/maskwise").mkdir(parents=True)
    (tmp_path / "src/maskwise/__init__.py").write_text('"""m"""\n\n__version__ = "0.1.0"\n')
    (tmp_path / "CITATION.cff").write_text("cff-version: 1.2.0\nversion: 0.1.0\n")
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changes\n\n## Unreleased\n\n### Added\n- A thing.\n\n## 0.1.0\n\nFirst.\n"
    )
    for command in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def test_a_release_made_for_practice(source: Path, releases: ModuleType) -> None:
    releases.release(source, "0.2.0")
    releases.check(source, "v0.2.0")
    text = (source / "CHANGELOG.md").read_text()
    assert re.search(r"## Unreleased\n\n## 0\.2\.0 - \d{4}-\d\d-\d\d\n\n### Added\n- A thing\.\n\n## 0\.1\.0\n", text)
    tags = subprocess.run(["git", "tag"], cwd=source, capture_output=True, text=True, check=True).stdout
    assert tags == "v0.2.0\n"


@pytest.mark.parametrize(
    ("name", "old", "new", "match"),
    [
        ("src/maskwise/__init__.py", "0.2.0", "0.3.0", "the package calls itself 0.3.0"),
        ("CITATION.cff", "version: 0.2.0", "version: 0.1.0", "CITATION.cff names another version"),
        ("CHANGELOG.md", "## 0.2.0 - ", "## 0.2.0 ", "CHANGELOG.md has no part"),
        ("CHANGELOG.md", "\n### Added\n- A thing.\n", "", "CHANGELOG.md has no part"),
    ],
)
def test_a_release_that_does_not_agree_with_itself(
    name: str, old: str, new: str, match: str, source: Path, releases: ModuleType
) -> None:
    releases.release(source, "0.2.0")
    path = source / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(SystemExit, match=match):
        releases.check(source, "v0.2.0")


def test_what_scripts_take_from_the_package_is_there() -> None:
    """Nobody imports the files beside the package but who runs them; a name that moved is missed here first."""
    missing = []
    for folder in ("benchmarks", "docs", "examples", "scripts"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.ImportFrom) or (node.module or "").split(".")[0] != "maskwise":
                    continue
                home = importlib.import_module(node.module or "")
                missing += [
                    f"{path.relative_to(ROOT)}: {node.module}.{alias.name}"
                    for alias in node.names
                    if not hasattr(home, alias.name) and importlib.util.find_spec(f"{node.module}.{alias.name}") is None
                ]
    assert not missing
