"""One picture, every method, and the seconds that each took; docs/images/methods.png is `python docs/pictures.py`.

python benchmarks/contact_sheet.py --picture cat --target "tabby cat" --out contact_sheet.png
"""

from __future__ import annotations

import argparse
import time

import torch

import maskwise as mw
from maskwise.explainers import methods
from maskwise.images import load_image, packaged_pictures, resize
from maskwise.report.contact import Tile, contact_sheet

ORDER = ("maskers", "gradients", "class activation", "excitation", "perturbation", "regions", "references")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--picture", default="cat", help="a packaged picture's name, or a file")
    arguments.add_argument("--target", default=None)
    arguments.add_argument("--out", default="contact_sheet.png")
    arguments.add_argument("--threads", type=int, default=2)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    packaged = {p.stem: p for p in packaged_pictures()}
    image = resize(load_image(packaged.get(given.picture, given.picture))[None], 224)
    classifier = mw.load_classifier()
    shown = [name for name in methods.names() if methods.facts(name)["family"] in ORDER]  # the network has no attention
    names = sorted(shown, key=lambda n: (ORDER.index(methods.facts(n)["family"]), n))
    tiles = []
    for name in names:
        explain = mw.explainer(name, classifier)
        began = time.perf_counter()
        maps = explain(image, given.target)
        seconds = time.perf_counter() - began
        tiles.append(Tile(name, maps[0], f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"))
        print(f"{name:34} {seconds:8.2f} s", flush=True)
    contact_sheet(image[0], tiles, given.out)
    print(given.out)


if __name__ == "__main__":
    main()
