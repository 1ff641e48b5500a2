"""What a network costs without its batch norms: forwards, and backwards to the pictures, against the network itself.

    python benchmarks/folding.py --repeats 7

Each pair of numbers is taken in turn, in processor time (user and system, all threads) of one picture; the ratio is the
median of the pairs. torchvision's networks have random weights, which changes no time.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
import torchvision
from torch import Tensor

import maskwise as mw
from maskwise.classifiers import still_copy
from maskwise.classifiers.folding import folded
from maskwise.core.allocator import keep_freed_memory


def forward(classifier: mw.Classifier, images: Tensor) -> None:
    with torch.no_grad():
        classifier.logits(images)


def backward(classifier: mw.Classifier, images: Tensor) -> None:
    images = images.requires_grad_(True)
    torch.autograd.grad(classifier.logits(images).logsumexp(1).sum(), images)


CASES: dict[str, Callable[[mw.Classifier, Tensor], None]] = {"forward": forward, "forward and backward": backward}


def seconds(call: Callable[[], None]) -> float:
    before = time.process_time()
    call()
    return time.process_time() - before


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--networks", nargs="+", default=["efficientnet_lite0", "mobilenet_v2", "resnet18"])
    options.add_argument("--size", type=int, default=144)
    options.add_argument("--batch", type=int, default=16)
    options.add_argument("--repeats", type=int, default=7)
    given = options.parse_args()
    keep_freed_memory()
    print(f"{platform.machine()}, {torch.get_num_threads()} thread(s), torch {torch.__version__}")
    for name in given.networks:
        ours = name.startswith("efficientnet_lite")
        loaded = mw.load_classifier(name) if ours else mw.Classifier(getattr(torchvision.models, name)())
        classifier = still_copy(loaded).to(memory_format=torch.channels_last)
        quick = folded(classifier)
        images = torch.rand(given.batch, 3, given.size, given.size).contiguous(memory_format=torch.channels_last)
        for case, run in CASES.items():
            run(classifier, images), run(quick, images)
            pairs = [[seconds(lambda: run(k, images)) for k in (classifier, quick)] for _ in range(given.repeats)]  # noqa: B023
            own, less = (statistics.median(pair[i] for pair in pairs) / given.batch * 1e3 for i in (0, 1))
            ratio = statistics.median(pair[1] / pair[0] for pair in pairs)
            print(f"{name:20} {case:21} {own:6.2f} ms a picture, folded {less:6.2f}, {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
