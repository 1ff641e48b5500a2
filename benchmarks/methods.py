"""Base methods against captum, grad-cam, torchcam and the bare forwards that they need, timed in pairs.

    pip install -e ".[bench]"
    python benchmarks/methods.py --batches 1 8 --repeats 5

A rival's row counts only if its map agrees with ours (correlation of pixels, averaged over pictures). Each repeat
times both, one after the other in turn; the ratio is the median over repeats of ours / theirs. The floor of a
method is what it can't do without: so many forwards, or forwards and backwards to the input, of the same classifier
in the same run, at the memory format in which the floor is fastest.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import captum
import captum.attr
import torch
import torch.nn.functional as F
import torchcam
import torchvision
from pytorch_grad_cam import GradCAM as PackageGradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor
from torchcam.methods import GradCAM as TorchGradCAM

import maskwise as mw
from maskwise.core.min_max import min_max


@dataclass(frozen=True)
class Pair:
    """Two timed calls; ``agree`` is None for a floor, which gives no map."""

    method: str
    rival: str
    ours: Callable[[], Tensor]
    theirs: Callable[[], Tensor | None]
    aim: float
    compare: bool = True


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def timed(call: Callable[[], object], now: Callable[[], float]) -> float:
    began = now()
    call()
    return now() - began


def correlation(a: Tensor, b: Tensor) -> float:
    return statistics.fmean(
        float(torch.corrcoef(torch.stack([x.flatten(), y.flatten()]))[0, 1]) for x, y in zip(a, b, strict=True)
    )


def pairs(batch: int) -> list[Pair]:
    torch.manual_seed(0)
    module = torchvision.models.resnet50(weights=None).eval().requires_grad_(False)
    classifier = mw.Classifier(module, name="resnet50")
    images = torch.rand(batch, 3, 224, 224)
    normal = classifier.normalise(images)
    layer = classifier.tap_names[-1]
    with torch.no_grad():  # a class whose map is not empty: with random weights Grad-CAM's ReLU empties half of them
        target_class = int(module(normal).mean(0).argmax())
    target = torch.full((batch,), target_class)

    def ours(name: str, **options: object) -> Callable[[], Tensor]:
        explain = mw.explainer(name, classifier, **options)
        return lambda: explain(images, target_class)

    def forwards(count: int) -> Callable[[], None]:
        rows = torch.rand(32, 3, 224, 224).contiguous(memory_format=torch.channels_last)

        def run() -> None:
            with torch.inference_mode():
                for first in range(0, count, 32):
                    module(rows[: min(32, count - first)])

        return run

    def backward() -> None:
        pixels = normal.clone().contiguous(memory_format=torch.channels_last).requires_grad_(True)
        torch.autograd.grad(module(pixels)[:, target_class].sum(), pixels)

    def learning(steps: int) -> Callable[[], None]:
        def run() -> None:
            for _ in range(steps):
                backward()
            forwards(batch)()

        return run

    def forward_and_heads() -> None:
        with torch.inference_mode():
            module(normal)
            places = torch.rand(49 * batch, 2048, 7, 7)
            module.fc(module.avgpool(places).flatten(1))

    def backward_and_forwards() -> None:
        backward()
        forwards(32 * batch)()

    rival_module = torchvision.models.resnet50(weights=None).eval()  # these need parameters that take gradients
    rival_module.load_state_dict(module.state_dict())
    package = PackageGradCAM(rival_module, [rival_module.layer4])
    torch_cam = TorchGradCAM(rival_module, "layer4")
    integrated = captum.attr.IntegratedGradients(module)

    def by_torchcam() -> Tensor:
        maps = torch_cam([target_class] * batch, rival_module(normal))[0]
        return F.interpolate(maps[:, None], (224, 224), mode="bilinear")[:, 0].detach()

    def by_package() -> Tensor:
        return torch.from_numpy(package(normal, [ClassifierOutputTarget(target_class)] * batch))

    def by_captum() -> Tensor:
        start = classifier.normalise(torch.zeros_like(images))
        values = integrated.attribute(normal, start, target, n_steps=25, internal_batch_size=32)
        return min_max(values.sum(1).abs()).float()

    def saliency() -> Tensor:
        return min_max(captum.attr.Saliency(module).attribute(normal.clone().requires_grad_(True), target).amax(1))

    return [
        Pair("grad_cam", "torchcam", ours("grad_cam", layer=layer), by_torchcam, 1.0),
        Pair("grad_cam", "grad-cam", ours("grad_cam", layer=layer), by_package, 0.4),
        Pair("integrated_gradients", "captum", ours("integrated_gradients", steps=25), by_captum, 0.8),
        Pair("gradient", "captum", ours("gradient"), saliency, 1.0),
        Pair("gradient", "1 forward, 1 backward", ours("gradient"), backward, 1.1, False),
        Pair("input_x_gradient", "1 forward, 1 backward", ours("input_x_gradient"), backward, 1.1, False),
        Pair("rise", "128 forwards", ours("rise", masks=128), forwards(128 * batch), 1.1, False),
        Pair("group_cam", "34 forwards", ours("group_cam"), forwards(34 * batch), 1.1, False),
        # The first stage has 256 channels, the last one 2,048, which would take minutes.
        Pair("score_cam", "256 forwards", ours("score_cam", layer="layer1"), forwards(256 * batch), 1.1, False),
        Pair(
            "score_cam top=32", "1 backward, 32 forwards", ours("score_cam", top=32), backward_and_forwards, 1.1, False
        ),
        Pair("refine_cam", "1 forward, 1 backward", ours("refine_cam"), backward, 1.1, False),
        Pair("recipro_cam", "1 forward, 49 heads", ours("recipro_cam", layer=layer), forward_and_heads, 1.5, False),
        Pair(
            "opti_cam 10 steps", "11 forwards, 10 backwards", ours("opti_cam", iterations=10), learning(10), 1.1, False
        ),
    ]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--skip", nargs="*", default=[], help="methods left out, such as the slow score_cam")
    arguments.add_argument("--only", nargs="*", default=None, help="these methods alone")
    arguments.add_argument("--json", default=None)
    arguments.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: on a machine that others use, too")
    given = arguments.parse_args()
    now = CLOCKS[given.clock]
    torch.set_num_threads(given.threads)
    versions = f"torch {torch.__version__}, captum {captum.__version__}, torchcam {torchcam.__version__}"
    print(
        f"{platform.machine()}, {given.threads} threads, {versions}, {given.clock} clock, median of {given.repeats}\n"
    )
    print("| batch | method | against | ours s | theirs s | ratio | aim | agree |")
    print("|---|---|---|---|---|---|---|---|")
    rows = []
    for batch in given.batches:
        for pair in pairs(batch):
            method = pair.method.split()[0]
            if method in given.skip or (given.only and method not in given.only):
                continue
            maps, theirs = pair.ours(), pair.theirs()  # also the warm-up
            agree = correlation(maps, theirs) if pair.compare and theirs is not None else None
            times = [(timed(pair.ours, now), timed(pair.theirs, now)) for _ in range(given.repeats)]
            mine, rival = (statistics.median(t) for t in zip(*times, strict=True))
            ratio = statistics.median(a / b for a, b in times)
            counts = agree is None or agree > 0.99
            shown = "" if agree is None else f"{agree:.4f}" + ("" if counts else " (does not count)")
            cells = (batch, pair.method, pair.rival, f"{mine:.3f}", f"{rival:.3f}", f"{ratio:.2f}", pair.aim, shown)
            print(f"| {' | '.join(map(str, cells))} |", flush=True)
            rows.append({"batch": batch, "method": pair.method, "against": pair.rival, "ratio": ratio, "agree": agree})
    if given.json:
        with open(given.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=2)


if __name__ == "__main__":
    main()
