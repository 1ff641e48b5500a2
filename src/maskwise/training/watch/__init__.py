"""What watches a training: a page, contact sheets, early warnings, lines on stderr, and other people's loggers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from maskwise.data import DataSet, Record
from maskwise.training.callbacks import Callback
from maskwise.training.crops import PixelSize
from maskwise.training.trainer import Trainer
from maskwise.training.watch import loggers
from maskwise.training.watch.contact_sheet import ContactSheets, has_masks
from maskwise.training.watch.page import PAGE, Page
from maskwise.training.watch.verdict import MaskerVerdict
from maskwise.training.watch.views import Views
from maskwise.training.watch.warnings import early_warnings

__all__ = ["PAGE", "watchers"]


def watchers(
    trainer: Trainer,
    size: PixelSize,
    settings: Mapping[str, object],
    *,
    page: bool = True,
    log: Sequence[str] = (),
    held_out: Sequence[DataSet] | None = None,
    pictures: Sequence[tuple[DataSet, Record]] = (),
) -> list[Callback]:
    """The callbacks that a training has without being asked, and those that are named.

    Early warnings always; contact sheets where a page or a logger shows them and a masker is trained.

    Args:
        trainer: before its first step.
        size: of the contact sheets' pictures, in pixels, a square's side or (h,w): the training's.
        settings: what the page says the training was called with.
        page: write ``index.html``?
        log: names of loggers.
        held_out: data sets with the pictures on the contact sheets; None is the packaged ones.
        pictures: that are trained on. A masker is judged in the end on some of those that are held out, or else on
            some of these; without any it is not, and neither is one of a black box.

    Raises:
        InputError: a held-out picture can't be read.
    """
    warnings = early_warnings(trainer.recipe)
    sheets = None
    if pictures and has_masks(trainer) and not trainer.classifier.is_black_box:  # which may cost something to ask
        kept = [(data, record) for data in held_out or () for record in data.records]
        which = "pictures that were held out" if kept else "of the pictures that it was trained on"
        warnings.append(MaskerVerdict(trainer, kept or pictures, which))
    if (page or log) and has_masks(trainer):
        sheets = ContactSheets(trainer, Views.of(held_out, size, trainer.classifier.channels))
    found: list[Callback] = [*warnings, *([sheets] if sheets else [])]
    if page:
        found.append(Page(settings, sheets, warnings))
    return [*found, *loggers.made(log, sheets)]
