"""How near each infiller comes to what the hole hides: L1 and PSNR inside the holes of test pictures.

python benchmarks/infill.py ../shared/data/imagenette224.zip@test ../shared/data/pets3.zip@test --count 200 --side 224
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import torch
from torch import Tensor

import maskwise as mw
from maskwise.data import read_data
from maskwise.images import resize
from maskwise.infill import infiller, infillers
from maskwise.infill.holes import blobs, strokes
from maskwise.training.draws import generator

BATCH = 10


def pictures(sources: list[str], count: int, side: int) -> Tensor:
    """(count,3,side,side): every n-th picture of all sources, squashed."""
    sets = [read_data(source) for source in sources]
    items = [(data, record) for data in sets for record in data.records]
    chosen = [items[i * len(items) // count] for i in range(min(count, len(items)))]
    return torch.cat([resize(data.image(record)[None], side) for data, record in chosen])


def hole_sets(count: int, side: int, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Hard holes (count,side,side) by what they are."""
    import numpy as np

    drawn = np.random.default_rng(seed)
    yield "strokes", torch.stack([torch.from_numpy(strokes(side, drawn)) for _ in range(count)])
    for low, high in ((0.1, 0.4), (0.5, 0.8)):
        yield f"blobs {low:.0%}-{high:.0%}", blobs(count, side, generator(seed, int(100 * low)), (low, high), soft=0.0)


def measured(fill: Tensor, images: Tensor, holes: Tensor) -> tuple[float, float]:
    """Mean over pictures of the L1 distance and of PSNR (dB), over the missing pixels alone."""
    missing = holes[:, None]
    pixels = 3 * missing.sum((1, 2, 3))
    l1 = ((fill - images).abs() * missing).sum((1, 2, 3)) / pixels
    mse = ((fill - images).square() * missing).sum((1, 2, 3)) / pixels
    return l1.mean().item(), (-10 * mse.clamp(min=1e-10).log10()).mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--infill", action="append", help="name or name:key=value; default: all that need no file")
    options = parser.parse_args()
    names = options.infill or [name for name, facts in infillers.items() if not facts["needs_weights"]]
    images = pictures(options.sources, options.count, options.side)
    colour = mw.load_classifier("efficientnet_lite0").mean
    print(
        f"{len(images)} pictures at {options.side} px, seed {options.seed}; L1 in [0,1] and PSNR in dB, in holes alone"
    )
    print(f"{'holes':<14} {'area':>5}  {'infiller':<20} {'L1':>7} {'PSNR':>6} {'ms/picture':>10}")
    for kind, holes in hole_sets(len(images), options.side, options.seed):
        for name in names:
            fill_in = infiller(name)
            torch.manual_seed(options.seed)
            fill_in(images[:1], holes[:1], colour)  # loads
            began = time.perf_counter()
            fills = [fill_in(x, h, colour) for x, h in zip(images.split(BATCH), holes.split(BATCH), strict=True)]
            seconds = (time.perf_counter() - began) / len(images)
            l1, psnr = measured(torch.cat(fills), images, holes)
            print(
                f"{kind:<14} {holes.mean():5.2f}  {name:<20} {l1:7.4f} {psnr:6.2f} {1000 * seconds:10.1f}", flush=True
            )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
