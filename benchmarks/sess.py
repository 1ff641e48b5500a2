"""SESS against the bare forwards that it needs and against the literal patch-by-patch loop; memory; pruning.

    python benchmarks/sess.py time                      # ratios, CPU or GPU
    python benchmarks/sess.py grid                      # the paper's Table 2: milliseconds a picture
    python benchmarks/sess.py memory                    # a 24-megapixel photograph
    python benchmarks/sess.py prune --data FILE.zip@test  # does coarse-to-fine lose anything?

Every ratio is the median over repeats of two calls timed one after the other in the same run, ours / theirs; maps
are compared first. The network is ResNet-50 with random weights, except for ``prune``.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.sess.windows import multi_scale, scaled_sizes, tiling

RELEASED_BATCH = 128  # in which the authors' code scores
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
now = time.perf_counter


def timed(call: Callable[[], object]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    began = now()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return now() - began


def resnet50(device: str) -> Classifier:
    torch.manual_seed(0)
    module = torchvision.models.resnet50(weights=None).eval()
    module = module.requires_grad_(False).to(device, memory_format=torch.channels_last)
    return mw.Classifier(module, name="resnet50")


def all_patches(image: Tensor, n: int) -> Tensor:
    """(P,3,224,224) of one picture, made beforehand: the floor does not pay for them."""
    sizes = scaled_sizes((image.shape[-2], image.shape[-1]), [224 + 64 * i for i in range(n)])
    scaled = [multi_scale(image, size, True) for size in sizes]
    tiles = tiling(sizes, (224, 224), (224, 224))
    return torch.cat([scaled[t.scale][:, :, t.y : t.y + 224, t.x : t.x + 224] for t in tiles])


def forwards(classifier: Classifier, patches: Tensor, batch: int) -> None:
    with torch.inference_mode():
        for part in patches.split(batch):
            classifier.logits(part.contiguous(memory_format=torch.channels_last))


def backwards(classifier: Classifier, patches: Tensor, batch: int) -> None:
    for part in patches.split(batch):
        pixels = part.contiguous(memory_format=torch.channels_last).requires_grad_(True)
        torch.autograd.grad(classifier.logits(pixels).amax(1).sum(), pixels)


def literal(classifier: Classifier, image: Tensor, target: int, n: int, batch: int) -> Tensor:
    """Algorithm 1 as one would write it from the paper: score in batches, then one hooked Grad-CAM a patch.

    Every patch's map is laid on zeros of its scale's size, resized to the picture, and stacked.
    """
    module, size = classifier.module, (image.shape[-2], image.shape[-1])
    sizes = scaled_sizes(size, [224 + 64 * i for i in range(n)])
    tiles = tiling(sizes, (224, 224), (224, 224))
    patches = all_patches(image, n)
    with torch.no_grad():
        scores = torch.cat([classifier.logits(p).softmax(1)[:, target] for p in patches.split(batch)])
    seen: dict[str, Tensor] = {}
    layer = module.get_submodule("layer4")

    def keep_gradient(_module: nn.Module, _inputs: object, outputs: tuple[Tensor, ...] | Tensor) -> None:
        seen["gradient"] = outputs[0]

    handles = [
        layer.register_forward_hook(lambda m, i, o: seen.update(activation=o)),
        layer.register_full_backward_hook(keep_gradient),
    ]
    total, count = torch.zeros(size), torch.zeros(size)
    for tile, patch, score in zip(tiles, patches, scores, strict=True):
        pixels = patch[None].clone().requires_grad_(True)
        classifier.logits(pixels)[0, target].backward()
        weights = seen["gradient"].mean((2, 3), keepdim=True)
        cam = (weights * seen["activation"]).sum(1, keepdim=True).relu().detach()
        cam = F.interpolate(cam, (224, 224), mode="bilinear", align_corners=False)[0, 0]
        span = cam.max() - cam.min()
        cam = (cam - cam.min()) / span if span > 0 else torch.zeros_like(cam)
        cam = torch.where(cam < 1e-6, 0, cam)
        canvas = torch.zeros(sizes[tile.scale])
        canvas[tile.y : tile.y + 224, tile.x : tile.x + 224] = cam * score
        large = F.interpolate(canvas[None, None], size, mode="bilinear", align_corners=False)[0, 0]
        total += large
        count += large > 0
    for handle in handles:
        handle.remove()
    fused = total / count.clamp(min=1)
    return (fused - fused.min()) / (fused.max() - fused.min())


def compare_times(given: argparse.Namespace) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    classifier = resnet50(device)
    image = torch.rand(1, 3, 375, 375, generator=torch.Generator().manual_seed(0)).to(device)
    batch, n = given.batch, given.scales
    patches = all_patches(image, n)
    target = int(classifier.logits(classifier.prepare(image)).argmax())

    def ours(name: str, prefilter: float) -> Callable[[], Tensor]:
        explain = mw.SESS(
            mw.explainer(name, classifier), scales=n, prefilter=prefilter, batch=batch, smooth=False, scoring="fp32"
        )
        return lambda: explain(image, target)

    kept = max(len(patches) - int(len(patches) * 0.99), 1)
    count = len(patches)

    def scoring() -> None:
        forwards(classifier, patches, batch)

    def explaining() -> None:
        backwards(classifier, patches, batch)

    def filtering() -> None:
        scoring()
        backwards(classifier, patches[:kept], batch)

    both = f"{count} forwards, {kept} forwards and backwards"
    rows = [
        ("grad_cam, r=0", ours("grad_cam", 0), f"{count} forwards", scoring, 1.2),
        ("grad_cam, r=0.99", ours("grad_cam", 0.99), f"{count} forwards", scoring, 1.15),
        ("gradient, r=0.99", ours("gradient", 0.99), both, filtering, 1.15),
        ("gradient, r=0", ours("gradient", 0), f"{count} forwards and backwards", explaining, 1.2),
    ]
    where = f"{platform.machine()}, {torch.get_num_threads()} threads, {device}, torch {torch.__version__}"
    print(f"{where}, a picture of 375x375, n={n}\n")
    print("| ours | against | ours s | theirs s | ratio | aim |\n|---|---|---|---|---|---|")
    for name, mine, against, theirs, aim in rows:
        if given.only and not name.startswith(given.only):
            continue
        mine(), theirs()
        pairs = [(timed(mine), timed(theirs)) for _ in range(given.repeats)]
        ratio = statistics.median(a / b for a, b in pairs)
        a, b = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"| {name} | {against} | {a:.2f} | {b:.2f} | {ratio:.2f} | {aim} |", flush=True)
    if device == "cpu" and (not given.only or "literal".startswith(given.only)):
        against_literal(given, classifier, image, target, ours("grad_cam", 0))


def against_literal(
    given: argparse.Namespace, classifier: Classifier, image: Tensor, target: int, mine: Callable[[], Tensor]
) -> None:
    """SESS against the loop, which has a network as one comes: its weights ask for gradients."""
    as_it_comes = resnet50("cpu")
    for parameter in as_it_comes.module.parameters():
        parameter.requires_grad_(True)
    patches = all_patches(image, given.scales)
    for batch in (given.batch, RELEASED_BATCH):

        def loop(batch: int = batch) -> Tensor:
            return literal(as_it_comes, image, target, given.scales, batch)

        gap = float((mine()[0] - loop()).abs().max())
        runs = [
            (timed(mine), timed(loop), timed(lambda: forwards(classifier, patches, given.batch)))
            for _ in range(given.repeats)
        ]
        ratio, most = (statistics.median(r[1] / r[i] for r in runs) for i in (0, 2))
        a, b, floor = (statistics.median(column) for column in zip(*runs, strict=True))
        print(
            f"| grad_cam, r=0 | literal loop, scoring {batch} at once, maps differ by {gap:.0e} | {a:.2f} | {b:.2f} | "
            f"{ratio:.1f}x faster; {most:.1f}x over the bare forwards, {floor:.2f} s | 5x |",
            flush=True,
        )


def table_2(given: argparse.Namespace) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    classifier = resnet50(device)
    image = torch.rand(1, 3, 375, 500, generator=torch.Generator().manual_seed(0)).to(device)
    print("milliseconds a picture of 500x375, ResNet-50,", torch.cuda.get_device_name() if device == "cuda" else "CPU")
    print(
        "| method | base | r=0 n=6 | r=0 n=12 | r=0.5 n=6 | r=0.5 n=12 | r=0.99 n=6 | r=0.99 n=12 |\n"
        + "|---" * 8
        + "|"
    )
    for name in given.methods:
        base = mw.explainer(name, classifier)
        cells = [base]
        if name in ("grad_cam", "guided_backprop", "group_cam"):
            cells += [
                mw.SESS(base, scales=n, prefilter=r, smooth=False, batch=given.batch)
                for r in (0.0, 0.5, 0.99)
                for n in (6, 12)
            ]
        times = []
        for explain in cells:
            explain(image, 1)
            times.append(1000 * statistics.median(timed(partial(explain, image, 1)) for _ in range(given.repeats)))
        print(f"| {name} | " + " | ".join(f"{t:.0f}" for t in times) + " |", flush=True)


def peak_memory(given: argparse.Namespace) -> None:
    """Peak resident memory by number of patches; the picture alone is 288 MB."""
    classifier = mw.load_classifier("efficientnet_lite0")
    image = torch.rand(1, 3, 4000, 6000)
    print("| scales | stride | patches | seconds | peak resident MB |\n|---|---|---|---|---|")
    for n, stride in ((1, 224), (4, 224), (12, 224), (12, 112)):
        explain = mw.SESS(mw.explainer("grad_cam", classifier), scales=n, stride=stride, smooth=True, batch=given.batch)
        seconds = timed(partial(explain, image, 1))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"| {n} | {stride} | {int(explain.report['windows'])} | {seconds:.1f} | {peak:.0f} |", flush=True)


def pruning(given: argparse.Namespace) -> None:
    """Pointing game (is the maximum inside a box?) and share of windows scored, with and without pruning."""
    from maskwise.data import read_data

    classifier = mw.load_classifier("efficientnet_lite0")
    data = read_data(given.data)
    records = [i for i, record in enumerate(data.records) if record.boxes][:: given.every][: given.limit]
    print(f"{len(records)} pictures of {given.data}\n")
    print("| prune | scored | pointing game % | seconds a picture |\n|---|---|---|---|")
    for prune in (None, 0.01, 0.05, 0.1, 0.3):
        explain = mw.SESS.preset("sess_metrics", mw.explainer("grad_cam", classifier), prune=prune)
        hits, scored, windows, seconds = 0, 0.0, 0.0, 0.0
        for i in records:
            sample = data[i]
            began = time.perf_counter()
            saliency = explain(sample.image[None])[0]
            seconds += time.perf_counter() - began
            y, x = divmod(int(saliency.argmax()), saliency.shape[1])
            hits += any(x0 <= x < x1 and y0 <= y < y1 for x0, y0, x1, y1 in sample.boxes.tolist())
            scored += float(explain.report["scored"])
            windows += float(explain.report["windows"])
        n = len(records)
        print(f"| {prune} | {scored / windows:.0%} | {100 * hits / n:.1f} | {seconds / n:.2f} |", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("what", choices=["time", "grid", "memory", "prune"])
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--batch", type=int, default=8 if not torch.cuda.is_available() else 64)
    arguments.add_argument("--scales", type=int, default=12)
    arguments.add_argument("--only", default=None, help="rows of `time` that begin so")
    arguments.add_argument("--methods", nargs="+", default=["grad_cam", "guided_backprop", "group_cam"])
    arguments.add_argument("--data", default=None)
    arguments.add_argument("--every", type=int, default=1, help="each so many-th picture")
    arguments.add_argument("--limit", type=int, default=None)
    arguments.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: with 1 thread on a machine in use")
    given = arguments.parse_args()
    global now
    now = CLOCKS[given.clock]
    torch.set_num_threads(given.threads)
    {"time": compare_times, "grid": table_2, "memory": peak_memory, "prune": pruning}[given.what](given)


if __name__ == "__main__":
    main()
