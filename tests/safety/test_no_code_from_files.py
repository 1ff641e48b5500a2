"""Nothing in the package runs what a file says: checked in the source itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import maskwise

SOURCE = Path(maskwise.__file__).parent
# A call that looks like one that runs code, and why it may stand there.
ALLOWED = {
    ("core/plain_yaml.py", "yaml.load"): "with a subclass of SafeLoader, checked below",
    ("classifiers/own.py", "torch.jit.load"): "a program that the user names; it runs in TorchScript, not in Python",
    ("data/shard_files.py", "subprocess.run"): "`pipe:COMMAND`, which the user types; no file holds a source of data",
}
RUNS_CODE = {
    "eval", "exec", "compile", "__import__", "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load",
    "marshal.loads", "shelve.open", "dill.load", "dill.loads", "cloudpickle.load", "joblib.load", "yaml.load",
    "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen", "subprocess.getoutput",
    "subprocess.getstatusoutput", "torch.hub.load", "torch.jit.load", "pandas.read_pickle", "tarfile.extractall",
}  # fmt: skip
IMPORTS = {"marshal", "shelve", "dill", "cloudpickle", "joblib", "xml.dom.minidom", "xml.sax", "lxml"}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Each call with its dotted name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            parts: list[str] = []
            at: ast.expr = node.func
            while isinstance(at, ast.Attribute):
                parts.append(at.attr)
                at = at.value
            if isinstance(at, ast.Name):
                yield ".".join([at.id, *reversed(parts)]), node


def given(call: ast.Call, name: str) -> object:
    found = next((k.value for k in call.keywords if k.arg == name), None)
    return found.value if isinstance(found, ast.Constant) else found


def problems(text: str, file: str = "x.py") -> list[str]:
    tree, found = ast.parse(text), []
    for name, call in calls(tree):
        where = f"{file}:{call.lineno}: {name}"
        if (file, name) in ALLOWED:
            continue
        if name in RUNS_CODE:
            found.append(f"{where} runs code")
        if name == "torch.load" and given(call, "weights_only") is not True:
            found.append(f"{where} without weights_only=True")
        if name.endswith(("np.load", "numpy.load")) and given(call, "allow_pickle") not in (None, False):
            found.append(f"{where} with allow_pickle")
        if given(call, "shell") not in (None, False):
            found.append(f"{where} through a shell")
        if name.endswith("Environment") and given(call, "autoescape") is not True:
            found.append(f"{where} without autoescape")
        if name.rpartition(".")[2] in ("extractall", "unpack_archive"):
            found.append(f"{where} unpacks an archive")
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [f"{file}: imports {name}" for name in names if name in IMPORTS]
    return found


def test_nothing_in_the_package_runs_what_a_file_says() -> None:
    files = sorted(SOURCE.rglob("*.py"))
    assert len(files) > 200
    found = [p for f in files for p in problems(f.read_text(encoding="utf-8"), f.relative_to(SOURCE).as_posix())]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "torch.load(p)", "torch.load(p, weights_only=False)", "torch.load(p, weights_only=w)", "pickle.loads(b)",
        "eval('1')", "yaml.load(t, Loader)", "np.load(p, allow_pickle=True)", "subprocess.run(c, shell=True)",
        "jinja2.Environment()", "Environment(autoescape=False)", "import marshal", "z.extractall(p)", "os.system(c)",
    ],
)  # fmt: skip
def test_the_check_sees(text: str) -> None:
    assert problems(text)


def test_what_is_allowed_is_still_there() -> None:
    for (file, name), _ in ALLOWED.items():
        assert name in {n for n, _ in calls(ast.parse((SOURCE / file).read_text(encoding="utf-8")))}


def test_a_pickle_is_not_run(tmp_path: Path) -> None:
    """Weights of a classifier and of an infiller: a file that would run a command is refused, and nothing runs."""
    import pickle

    import torch

    from maskwise.core.errors import InputError
    from maskwise.core.weights import read_weights
    from maskwise.infill.weights import with_weights

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (tmp_path / "ran",)

    path = tmp_path / "weights.pth"
    torch.save({"a": Evil()}, path)
    old = tmp_path / "old.pth"
    old.write_bytes(pickle.dumps(Evil()))
    for file in (path, old):
        with pytest.raises(InputError):
            read_weights(file)
        with pytest.raises(InputError):
            with_weights(lambda: torch.nn.Linear(1, 1), file, "x", "y")
    assert not (tmp_path / "ran").exists()
    torch.load(path, weights_only=False)  # the file does what it is meant to
    assert (tmp_path / "ran").exists()


def test_yaml_makes_plain_values_only(tmp_path: Path) -> None:
    import yaml

    from maskwise.core.errors import InputError
    from maskwise.core.plain_yaml import _Loader, read_yaml

    assert issubclass(_Loader, yaml.SafeLoader)
    for text in ("!!python/object/apply:os.system [id]", "!!python/name:os.system", "a: &a [1]\nb: *a", "2001-01-01",
                 "!!binary aGk=", "!!set {a}", "1: 2", "[" * 40 + "]" * 40, "9" * 5000):  # fmt: skip
        with pytest.raises(InputError):
            read_yaml(text, "x")
