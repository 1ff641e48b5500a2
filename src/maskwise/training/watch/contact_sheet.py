"""Contact sheets: what the masker in training makes of a few fixed pictures, look after look."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from maskwise.blending import masked_in, masked_out
from maskwise.classifiers import Classifier
from maskwise.core.files import atomic_write, remove_leftovers
from maskwise.core.modes import eval_mode
from maskwise.core.text import printable
from maskwise.drawing import FONT, overlay
from maskwise.images import resize, to_uint8, with_channels
from maskwise.infill.base import Infiller
from maskwise.maskers import ClassMasker, Masker
from maskwise.training.callbacks import TrainingState
from maskwise.training.trainer import Trainer
from maskwise.training.watch.views import Views
from maskwise.training.watch.watcher import Watcher

FOLDER = "looks"
KEPT = 20  # sheets of a run
HEAVIEST = 200_000  # bytes of one
LABEL, CAPTION, GAP = 86, 18, 3  # pixels: of the rows' names, of a line below a picture, between pictures
GROUND, INK = "#1d1f24", "#ececea"  # reads well on a light page and on a dark one


@dataclass(frozen=True)
class Look:
    """What a masker makes of pictures, and what the classifier makes of that. All on the CPU.

    Attributes:
        masks: (N,h,w) in [0,1], of the class that is asked for.
        masked_in, masked_out: (N,c,h,w), filled as in training.
        chances: (3,N), probability of that class on the clean, masked-in and masked-out pictures.
    """

    masks: Tensor
    masked_in: Tensor
    masked_out: Tensor
    chances: Tensor


def has_masks(trainer: Trainer) -> bool:
    """Is it a masker that is trained?"""
    return isinstance(getattr(trainer, "masker", None), (Masker, ClassMasker))


@torch.no_grad()
def look(trainer: Trainer, images: Tensor, classes: Tensor) -> Look:
    """Looks, and leaves the trainer exactly as it was: modes, statistics, and every global generator.

    Args:
        images: (N,c,h,w) in [0,1].
        classes: (N,) int64, of which masks and probabilities are.
    """
    masker, judge = masker_in_training(trainer), _judge(trainer)
    device, fill = trainer.fabric.device, getattr(trainer, "infill", None)
    # One by one: looking must not need more memory than a training of small batches has.
    pairs = zip(images.to(device).split(1), classes.to(device).split(1), strict=True)
    with eval_mode(masker, judge), own_randomness(device):
        looks = [_look_at(masker, judge, fill, image, asked) for image, asked in pairs]
    masks, kept, gone = (torch.cat([one[k] for one in looks]).cpu() for k in range(3))
    return Look(masks, kept, gone, torch.cat([one[3] for one in looks], 1).cpu())


def _look_at(
    masker: Masker | ClassMasker, judge: Classifier, fill: Infiller | None, images: Tensor, classes: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Masks (N,h,w), masked-in and masked-out pictures, and chances (3,N) of the classes before and after masking."""
    masks = masker(images, classes[:, None])[1][:, 0].float()
    colour = judge.mean.reshape(1, -1, 1, 1)
    kept = masked_in(images, masks, colour if fill is None else fill(images, 1 - masks, judge.mean))
    gone = masked_out(images, masks, colour if fill is None else fill(images, masks, judge.mean))
    seen = torch.stack([judge.probabilities(_answer(judge, x).float()) for x in (images, kept, gone)])
    return masks, kept, gone, seen.gather(2, classes[None, :, None].expand(3, -1, 1))[..., 0]


def _answer(judge: Classifier, images: Tensor) -> Tensor:
    """Logits (N,K) of pictures at the size of a training's crops, which a black box may not take."""
    return judge.logits(judge.prepare(images) if judge.is_black_box else images)


def masker_in_training(trainer: Trainer) -> Masker | ClassMasker:
    """What is trained, where ``has_masks``."""
    masker = trainer.masker  # type: ignore[attr-defined]
    assert isinstance(masker, (Masker, ClassMasker))
    return masker


def _judge(trainer: Trainer) -> Classifier:
    """The classifier as it is now; the original where it does not change."""
    return getattr(trainer, "live", trainer.classifier)


@contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """Draws in here are the same at every look, and move nothing outside."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def draw(images: Tensor, seen: Look, names: Sequence[str]) -> Image.Image:
    """Four rows: the pictures (N,c,h,w) with ``names``, their maps, masked-in, masked-out; numbers below each."""
    count = len(images)
    longer = min(max(1000 // count, 96), 160)
    tall, wide = cell = _cell(images, longer)
    rows = {
        "picture": ([to_uint8(x) for x in _small(images, cell)], list(names)),
        "map": (
            [overlay(x, m) for x, m in zip(_small(images, cell), _small(seen.masks[:, None], cell)[:, 0], strict=True)],
            [f"area {100 * area:.0f}%" for area in seen.masks.mean((1, 2)).tolist()],
        ),
        "masked-in": ([to_uint8(x) for x in _small(seen.masked_in, cell)], _changes(seen.chances, 1)),
        "masked-out": ([to_uint8(x) for x in _small(seen.masked_out, cell)], _changes(seen.chances, 2)),
    }
    sheet = Image.new("RGB", (LABEL + count * (wide + GAP) - GAP, len(rows) * (tall + CAPTION + GAP)), GROUND)
    pen, font = ImageDraw.Draw(sheet), ImageFont.truetype(str(FONT), 12)
    for row, (title, (pictures, captions)) in enumerate(rows.items()):
        top = row * (tall + CAPTION + GAP)
        pen.text((LABEL - 8, top + tall / 2), title, INK, font, anchor="rm")
        for column, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
            left = LABEL + column * (wide + GAP)
            sheet.paste(Image.fromarray(picture), (left, top))
            pen.text((left + wide / 2, top + tall + CAPTION / 2), _fitting(caption, font, wide), INK, font, anchor="mm")
    return sheet


def _cell(images: Tensor, longer: int) -> tuple[int, int]:
    """(h,w) in the pictures' shape."""
    height, width = images.shape[-2:]
    most = max(height, width)
    return max(round(height * longer / most), 1), max(round(width * longer / most), 1)


def _small(images: Tensor, cell: tuple[int, int]) -> Tensor:
    return resize(with_channels(images, 3), cell)


def _changes(chances: Tensor, row: int) -> list[str]:
    return [f"p {before:.2f} → {after:.2f}" for before, after in zip(*chances[[0, row]].tolist(), strict=True)]


def _fitting(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    text = printable(text)
    while text and font.getlength(text) > width:
        text = text.removesuffix("…")[:-1] + "…" if len(text) > 2 else ""
    return text


def jpeg(sheet: Image.Image, most: int = HEAVIEST) -> bytes:
    """The finest JPEG of at most so many bytes, or the coarsest that is tried."""
    for quality in (88, 80, 70, 55, 40, 25, 10):
        file = io.BytesIO()
        sheet.save(file, "jpeg", quality=quality, optimize=True)
        if file.tell() <= most:
            break
    return file.getvalue()


def superfluous(steps: Sequence[int], most: int = KEPT) -> list[int]:
    """Which of the looks at ``steps`` go, so that at most ``most`` are left: the first and the last stay.

    One after another is dropped: the one with the closest neighbours, the earliest of several.

    Example:
        >>> superfluous([0, 10, 20, 30, 31, 40], 4)
        [10, 31]
    """
    left, gone = sorted(steps), []
    while len(left) > max(most, 2):
        inner = range(1, len(left) - 1)
        closest = min(inner, key=lambda k: (left[k + 1] - left[k - 1], left[k]))
        gone.append(left.pop(closest))
    return sorted(gone)


class ContactSheets(Watcher):
    """Writes ``looks/000300.jpg``, the contact sheet after step 300, at every look and at the end.

    Args:
        trainer: of a masker.
        views: what is looked at.

    Attributes:
        latest: the newest sheet; None before the first look.
        size: of it, in pixels.
    """

    what = "the contact sheet"

    def __init__(self, trainer: Trainer, views: Views) -> None:
        self.views = views
        self.latest: Path | None = None
        self.size = (0, 0)
        self.classes, self.names = asked_classes(trainer.classifier, views)

    def on_look(self, state: TrainingState) -> None:
        with self.careful():
            folder = state.out / FOLDER
            folder.mkdir(exist_ok=True)
            if self.latest is None:  # what a run that was killed left, and looks past the step that it goes on from
                remove_leftovers(folder)
                for path in sheets_in(folder):
                    if int(path.stem) > state.step:
                        path.unlink()
            sheet = draw(self.views.images, look(state.trainer, self.views.images, self.classes), self.names)
            path = folder / f"{state.step:06}.jpg"
            with atomic_write(path) as temporary:
                temporary.write_bytes(jpeg(sheet))
            self.latest, self.size = path, sheet.size
            there = {int(path.stem): path for path in sheets_in(folder)}
            for step in superfluous(list(there)):
                there[step].unlink()

    def on_end(self, state: TrainingState) -> None:
        if not state.interrupted:  # who asks it to stop should not wait
            self.on_look(state)


def sheets_in(folder: Path) -> list[Path]:
    """All contact sheets, the earliest first."""
    return sorted((path for path in folder.glob("*.jpg") if path.stem.isdigit()), key=lambda path: int(path.stem))


@torch.no_grad()
def asked_classes(classifier: Classifier, views: Views) -> tuple[Tensor, list[str]]:
    """The class (N,) of each picture and its name: its label, or what the classifier sees where it has none."""
    with eval_mode(classifier), own_randomness(classifier.device):
        one_by_one = views.images.to(classifier.device).split(1)
        seen = [int(_answer(classifier, image).argmax()) for image in one_by_one]
    known = range(len(classifier.labels))
    pairs = zip(seen, views.labels, strict=True)
    classes: list[int] = [own if label is None or label not in known else label for own, label in pairs]
    return torch.tensor(classes), [classifier.labels.name(k) for k in classes]
