"""What a map costs beside the classifier's own forward: ladder, U-Net and two-layer decoder, timed in turns.

    python benchmarks/realtime.py --repeats 15

Logits and map of one pass are timed against logits alone, in the same run, one after the other in turn; the ratio is
the median over repeats of one / the other. Each is run twice and the second is timed, as frames follow each other:
the first finds memory as another network left it. Weights are random: the time does not depend on them. Frames a
second are those of the median time, without reading and drawing. Beside it stands the ratio of multiplications, which
is what the map would cost if all of them were equally quick. With --device cuda the GPU is waited for.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
import torchvision
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import maskwise as mw
from maskwise.maskers import ClassMasker, Masker
from maskwise.maskers.fusing import fuse
from maskwise.maskers.layout import Layout
from maskwise.training import recipes

LITE_WIDTHS, RESNET_WIDTHS = (64, 32, 16), (256, 128, 64)  # of recipes dabkowski_gal_lite0 and dabkowski_gal
AIMS = {"ladder": 1.05, "decoder": 1.1, "unet": 1.3}
LADDERS = {"efficientnet_lite0": "ladder_lite0", "vit_tiny_distilled": "ladder_vit"}


def networks(name: str, device: str) -> tuple[mw.Classifier, tuple[int, ...]]:
    torch.manual_seed(0)
    if name in LADDERS:
        return mw.load_classifier(name).to(device), LITE_WIDTHS if name == "efficientnet_lite0" else ()
    module = torchvision.models.get_model(name, weights=None)
    return mw.Classifier(module, name=name).to(device), RESNET_WIDTHS


def contenders(
    classifier: mw.Classifier, widths: tuple[int, ...], classes: int
) -> dict[str, tuple[float | None, Callable[[Tensor], object]]]:
    """By name: the aim, and a call that gives logits and maps."""
    found: dict[str, tuple[float | None, Callable[[Tensor], object]]] = {}
    if classifier.name in LADDERS:
        recipe = recipes.load(LADDERS[classifier.name])
        layout = Layout.of(dict(recipe))
        for title, class_tap in (("one class", True), ("any class", False)):
            if class_tap <= layout.class_tap:
                ladder = Masker.build(classifier, reads=recipe.taps, layout=replace(layout, class_tap=class_tap)).eval()
                fuse(ladder.decoder).to(memory_format=torch.channels_last)
                ladder.encoder = classifier
                found[f"ladder, {title}"] = AIMS["ladder"], ladder
    if not widths:
        return found
    for title, reads in (("all taps", None), ("packaged casm's taps", [2, 3, 4]), ("last two taps", [-2, -1])):
        decoder = Masker.build(classifier, reads=reads).eval()
        fuse(decoder.decoder).to(memory_format=torch.channels_last)
        decoder.encoder = classifier
        found[f"decoder, {title}"] = AIMS["decoder"], decoder
    for upsampling, kernel in (("transposed", 2), ("transposed", 3), ("transposed", 4), ("pixel_shuffle", 2)):
        unet = ClassMasker.build(classifier, widths, upsampling, kernel=kernel).eval()  # type: ignore[arg-type]
        fuse(unet.decoder)
        for count in sorted({1, classes}) if kernel == 2 else [1]:

            def call(images: Tensor, unet: ClassMasker = unet, count: int = count) -> object:
                return unet(images, torch.arange(count, device=images.device).expand(len(images), count))

            side = f" {kernel}x{kernel}" if upsampling == "transposed" else ""
            name = f"unet, {upsampling}{side}" + (f", {count} classes" if count > 1 else "")
            found[name] = AIMS["unet"] if count == 1 else None, call
    return found


def seconds(call: Callable[[Tensor], object], images: Tensor, clock: Callable[[], float]) -> float:
    call(images)
    if images.is_cuda:
        torch.cuda.synchronize()
    began = clock()
    call(images)
    if images.is_cuda:
        torch.cuda.synchronize()
    return clock() - began


def multiplications(call: Callable[[Tensor], object], images: Tensor) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call(images)
    flops: int = counter.get_total_flops()
    return flops


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--networks", nargs="+", default=["efficientnet_lite0", "resnet50"])
    arguments.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    arguments.add_argument("--classes", type=int, default=3, help="also so many classes in one pass")
    arguments.add_argument("--maps", default="", help="only maps whose names begin so, such as ladder")
    arguments.add_argument("--repeats", type=int, default=15)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--device", default="cpu")
    arguments.add_argument("--json", default=None)
    arguments.add_argument(
        "--processor-time",
        action="store_true",
        help="of all threads instead of the clock's, where others have work, too",
    )
    given = arguments.parse_args()
    clock = time.process_time if given.processor_time else time.perf_counter
    torch.set_num_threads(given.threads)
    where = torch.cuda.get_device_name() if given.device == "cuda" else f"{platform.machine()}, {given.threads} threads"
    print(f"{where}, torch {torch.__version__}, 224x224, median of {given.repeats} paired repeats\n")
    print("| network | batch | map | forward ms | with map ms | frames/s | multiplications | ratio | aim |")
    print("|---|---|---|---|---|---|---|---|---|")
    rows = []
    for name in given.networks:
        classifier, widths = networks(name, given.device)
        calls = {k: c for k, c in contenders(classifier, widths, given.classes).items() if k.startswith(given.maps)}
        for batch in given.batches:
            images = torch.rand(batch, 3, 224, 224, device=given.device).contiguous(memory_format=torch.channels_last)
            times: dict[str, list[tuple[float, float]]] = {kind: [] for kind in calls}
            with torch.inference_mode():
                for repeat in range(-2, given.repeats):  # two to warm up
                    for kind, (_, call) in calls.items():
                        pair = seconds(classifier.logits, images, clock), seconds(call, images, clock)
                        if repeat >= 0:
                            times[kind].append(pair)
            floor = multiplications(classifier.logits, images)
            for kind, (aim, call) in calls.items():
                bare, whole = (statistics.median(t) for t in zip(*times[kind], strict=True))
                ratio = statistics.median(b / a for a, b in times[kind])
                least = multiplications(call, images) / floor
                cells = (name, batch, kind, f"{1000 * bare:.1f}", f"{1000 * whole:.1f}", f"{batch / whole:.1f}")
                print(f"| {' | '.join(map(str, cells))} | {least:.2f} | {ratio:.2f} | {aim or ''} |", flush=True)
                row = {"network": name, "batch": batch, "map": kind, "ratio": ratio, "fps": batch / whole}
                rows.append({**row, "multiplications": least})
    if given.json:
        with open(given.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=2)


if __name__ == "__main__":
    main()
