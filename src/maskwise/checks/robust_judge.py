"""A judge of masked pictures that no masker has taught: EVAL-X (Jethani et al. 2021).

A classifier that was trained together with a masker may read the class from *which* pixels are kept. One that was
trained on pictures with random holes has only ever had the pixels themselves.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor

from maskwise.blending import masked_in
from maskwise.checks.holed_training import trained_on_holes
from maskwise.checks.pictures import Labelled
from maskwise.checks.small_training import SmallTraining, Trained
from maskwise.checks.subject import ProgressCallback, top_classes
from maskwise.classifiers import Classifier, learning_copy
from maskwise.core.errors import InputError
from maskwise.core.files import atomic_write
from maskwise.core.seal import save_sealed
from maskwise.core.weights import fill, read_weights
from maskwise.infill import infiller
from maskwise.infill.holes import blobs
from maskwise.measures.filling import filed_fill

GRIDS = (7, 14, 28)
HOLES = "half cells of a 7, 14 or 28 grid at a keep rate from U(0,1), half blobs of an area from U(0,1)"
FORMAT = "maskwise-robust-judge-2"
SETTINGS = SmallTraining(epochs=8, lr=1e-4, augment=True)


def random_keeps(count: int, side: int | tuple[int, int], draws: torch.Generator) -> Tensor:
    """What is kept of each picture (count,side,side) or (count,h,w), in {0,1}: half independent cells, half blobs.

    A mask of cells draws its grid from 7, 14 and 28 and its keep rate from U(0,1); a blob its area from U(0,1).
    Cells alone would leave the smooth shapes of saliency masks unseen.
    """
    keeps = blobs(count, side, draws, (0.0, 1.0), 0.0)
    cells = torch.rand(count, generator=draws) < 0.5
    grids = torch.randint(len(GRIDS), (count,), generator=draws).tolist()
    rates = torch.rand(count, generator=draws)
    for i in cells.nonzero()[:, 0].tolist():
        grid = GRIDS[grids[i]]
        coarse = (torch.rand(1, 1, grid, grid, generator=draws) < rates[i]).float()
        keeps[i] = F.interpolate(coarse, keeps.shape[1:], mode="nearest-exact")[0, 0]
    return keeps


def robust_judge(
    classifier: Classifier,
    train: Labelled,
    settings: SmallTraining = SETTINGS,
    *,
    fill: str = "mean",
    size: int | None = None,
    folder: str | Path | None = None,
    device: torch.device | str = "cpu",
    progress: ProgressCallback | None = None,
) -> Trained:
    """The classifier, fine-tuned to answer for pictures of which a random part is missing.

    Args:
        classifier: it begins from this one, which stays as it is, and keeps its classes.
        train: pictures at the size that masks have; labels are class indices of the classifier.
        settings: of the training, a few passes at a small rate.
        fill: infiller of the holes: the masker's own.
        size: longer side in pixels of the pictures that it is asked about, in the shape of the classifier's; None is
            the classifier's.
        folder: where judges lie, one file each under a digest of all that it depends on; one that is there is read.
        device: where it is trained, and stays.
        progress: called with (done, total), in steps.

    Returns:
        The judge, and its accuracy on whole training pictures.

    Raises:
        InputError: fewer than two pictures, a label that is none of its classes, ``until``, a size that the network
            does not take, one without weights to train, or a loss that became NaN.

    Source:
        Jethani et al. 2021, REAL-X and EVAL-X; that one drops independent pixels, at a rate of one half.
    """
    from maskwise.training.crop_size import crop_size  # heavy

    if classifier.gives_findings:
        raise InputError(
            f"{classifier.name} gives findings, several or none a picture: whether masks give the class away is "
            "asked of networks whose classes exclude each other (softmax)"
        )
    if len(train) and not 0 <= int(train.labels.min()) <= int(train.labels.max()) < len(classifier.labels):
        raise InputError(f"labels must be of the {len(classifier.labels)} classes that {classifier.name} knows")
    if settings.until is not None:
        raise InputError("a judge is trained for all its epochs: leave `until` out")
    device = torch.device(device)
    height, width = crop_size(classifier, size)
    about: dict[str, Any] = {
        "classifier": classifier.digest(), "train": train.checksum(), "training": settings.model_dump(),
        "fill": filed_fill(fill), "size": height if height == width else [height, width], "holes": HOLES,
    }  # fmt: skip
    path = None if folder is None else Path(folder) / f"{judge_key(about)}.safetensors"
    try:
        start = classifier.described(input_size=(height, width), name=f"robust judge of {classifier.name}")
    except InputError as error:
        raise InputError(
            f"a robust judge can't see pictures of {height}x{width} pixels, since {classifier.name} doesn't take them: "
            f"give the longer side that it takes, {classifier.input_size}"
        ) from error
    start = learning_copy(start).to(device)
    if path is not None and path.is_file():
        return _read(path, start)
    paint = infiller(fill)

    def cut(images: Tensor, holes: torch.Generator) -> Tensor:
        keeps = random_keeps(len(images), (images.shape[-2], images.shape[-1]), holes).to(images)
        # The holes are cut at full size and then shrunk, as those of the masks that are judged will be.
        return start.prepare(masked_in(images, keeps, paint(images, 1 - keeps, start.mean)))

    judge, epochs = trained_on_holes(start, train.images, train.labels, settings, cut, progress)
    right = top_classes(judge, train.images) == train.labels
    trained = Trained(judge, float(right.double().mean()), epochs)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        header = {"format": FORMAT, "about": json.dumps(about), "accuracy": repr(trained.accuracy)}
        with atomic_write(path) as temporary:
            save_sealed(temporary, trained.classifier.module.state_dict(), {**header, "epochs": str(trained.epochs)})
    return trained


def judge_key(about: dict[str, Any]) -> str:
    """First 16 hex digits of the SHA-256 of what a judge depends on."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def _read(path: Path, start: Classifier) -> Trained:
    """The judge that lies there, in place of the classifier that it began from.

    Raises:
        InputError: the file was damaged or changed.
    """
    fill(start.module, read_weights(path), f"{path}: not the weights of this judge; delete it")
    with safe_open(path, framework="pt") as stored:
        header = stored.metadata() or {}
    try:
        return Trained(start, float(header["accuracy"]), int(header["epochs"]))
    except (KeyError, ValueError):
        raise InputError(f"{path}: its header is not a judge's; delete it") from None
