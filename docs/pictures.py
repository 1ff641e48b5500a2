"""A picture for each method's page and one of all together, of the packaged cat.

`python docs/pictures.py NAME…` draws those methods' pictures and the sheet of all, images/methods.png; `--sheet` the
sheet alone; without a name also the pictures that are missing. Some methods take minutes.
"""

import hashlib
import sys
import time
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

import maskwise as mw
from maskwise.core.files import atomic_write
from maskwise.drawing import heat_scale, overlay
from maskwise.explainers import methods
from maskwise.images import packaged_pictures, to_uint8

IMAGES = Path(__file__).parent / "images"
FOLDER, SHEET = IMAGES / "methods", IMAGES / "methods.png"
FAMILIES = (
    "maskers", "class activation", "excitation", "gradients", "attention", "perturbation", "regions", "references",
)  # fmt: skip
COLUMNS = 8


def network(name: str) -> str:
    """The packaged classifier whose map is shown: the transformer's where a method reads attention."""
    return "vit_tiny_distilled" if methods.facts(name)["family"] == "attention" else "efficientnet_lite0"


def draw(name: str) -> None:
    """The cat, and beside it the method's map of its top class."""
    images = mw.load_images([packaged_pictures()[0]])
    began = time.perf_counter()
    saliency = mw.explainer(name, mw.load_classifier(network(name)))(images)[0]
    drawn = overlay(images[0], saliency, scale=heat_scale(saliency))
    side_by_side = np.concatenate([to_uint8(images[0]), drawn], 1)
    Image.fromarray(side_by_side).save(FOLDER / f"{name}.webp", quality=75, method=6)
    print(f"{name}: {time.perf_counter() - began:.1f} s", flush=True)


def shown() -> list[str]:
    """The methods that have a picture, family by family."""
    here = [name for name in methods.names() if (FOLDER / f"{name}.webp").is_file()]
    return sorted(here, key=lambda name: (FAMILIES.index(methods.facts(name)["family"]), name))


def content() -> str:
    """A digest of the pictures that the sheet puts together; it lies in the sheet, so that a test sees an old one."""
    return hashlib.sha256(
        b"".join(name.encode() + (FOLDER / f"{name}.webp").read_bytes() for name in shown())
    ).hexdigest()


def sheet() -> None:
    """The cat once, and every method's map of it."""
    names = shown()
    rows = -(-(len(names) + 1) // COLUMNS)
    pairs = [np.asarray(Image.open(FOLDER / f"{name}.webp").convert("RGB")) for name in names]
    side, shape = pairs[0].shape[1] // 2, pairs[0].shape[0] / (pairs[0].shape[1] // 2)
    figure = Figure(figsize=(COLUMNS * 1.5, rows * (1.5 * shape + 0.34)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, COLUMNS).flatten()
    for axis in axes:
        axis.axis("off")
    tiles = [("the picture", pairs[0][:, :side]), *((n, pair[:, side:]) for n, pair in zip(names, pairs, strict=True))]
    for axis, (name, tile) in zip(axes, tiles, strict=False):
        axis.imshow(tile)
        axis.set_title(
            name.replace("contrastive_excitation_", "contrastive_excitation_\n"), fontsize=7, parse_math=False
        )
    with atomic_write(SHEET) as temporary:
        figure.savefig(temporary, dpi=100, format="png", metadata={"Source": content()})


def main(names: list[str]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    missing = [name for name in methods.names() if not (FOLDER / f"{name}.webp").is_file()]
    for name in [] if names == ["--sheet"] else names or missing:
        try:
            draw(name)
        except mw.InputError as error:  # a masker that is not packaged
            print(f"{name}: {error}")
    sheet()


if __name__ == "__main__":
    main(sys.argv[1:])
