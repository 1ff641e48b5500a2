"""What all cells of a run share: scale, data, device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from maskwise.classifiers import Classifier, load_classifier
from maskwise.core.errors import InputError
from maskwise.core.precision import Precision
from maskwise.core.reading import sha256_of
from maskwise.data import DataSet, read_data
from maskwise.data.content import content_digest
from maskwise.data.damaged import readable
from maskwise.studies.scale import Scale
from maskwise.studies.tiny import TEST, TINY, TRAIN, tiny_classifier


@dataclass(frozen=True)
class RunConfig:
    """Plain data; it can be sent to another process.

    Attributes:
        scale: see ``Scale``.
        train: sources to train on.
        test: sources to measure on.
        masked: sources of pictures with masks, for columns that need them where the test pictures have none.
        weights: files of the scale's classifiers, by name, where they are not the pretrained ones.
        judges: classifiers of a panel, by name, with a file of weights each or None.
        overrides: ``key=value`` settings of every training.
        limit: pictures of each test set; None is all of them.
        device: cpu, cuda or mps.
        precision: of trainings.
        trainings: folder of what cells train, for all cells that train the same.
        damaged: names of pictures that are left out, by source.
    """

    scale: Scale
    train: tuple[str, ...]
    test: tuple[str, ...]
    judges: dict[str, str | None] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    limit: int | None = None
    device: str = "cpu"
    precision: Precision = "fp32"
    weights: dict[str, str] = field(default_factory=dict)
    trainings: Path = Path("trainings")
    masked: tuple[str, ...] = ()
    damaged: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def classifier(self, role: str = "main") -> Classifier:
        name = self.scale.classifiers[role]
        return _classifier(name, self.weights.get(name), self.device)

    def retrained(self, weights: Path) -> Classifier:
        """The scale's main network with weights that were trained here."""
        return _classifier(self.scale.classifiers["main"], str(weights), self.device)

    def judge(self, name: str) -> Classifier:
        return _classifier(name, self.judges[name], self.device)

    def sets(self, sources: Sequence[str]) -> list[DataSet]:
        if not sources:
            raise InputError("there is nothing to train on: the data have no training split; name some as `data`")
        return [self._sound(source) for source in sources]

    def _sound(self, source: str) -> DataSet:
        data, damaged = _data(source), frozenset(self.damaged.get(source, ()))
        return data.filter(lambda record: record.id not in damaged) if damaged else data

    def without_damaged(self) -> RunConfig:
        """The same without the pictures that can't be read, each of which is tried; a warning counts them.

        Raises:
            InputError: a source that can't be read, or none of whose pictures can.
        """
        found = {
            source: tuple(readable(_data(source))[1])
            for source in dict.fromkeys((*self.train, *self.test, *self.masked))
        }
        return replace(self, damaged={source: names for source, names in found.items() if names})

    def identity(self, sources: Sequence[str]) -> list[dict[str, Any]]:
        """Who the pictures are: source, number, and a digest of their content, truth and labels."""
        return [
            {"source": Path(source).name, "pictures": len(data), "digest": _content(source)}
            for source, data in zip(sources, self.sets(sources), strict=True)
        ]

    @staticmethod
    def digest(path: Path) -> str:
        return sha256_of(path)[:16]


def sources_of(data: Sequence[str], test: Sequence[str], scale: Scale) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is trained on and what is measured on.

    A source that has splits is trained on its train one, so that no training sees what may be measured on. Without
    ``test`` it is measured on its test or else its val one; the smoke scale brings shapes of its own.

    Raises:
        InputError: no data, or none to measure on.
    """
    if scale.smoke and not data:
        return (TRAIN,), tuple(test) or (TEST,)
    if not data and not test:
        raise InputError("name the pictures as `data` (see `maskwise datasets`)")
    train, held = [], []
    for source in data:
        if source.partition(":")[0] == "shapes":
            train.append(source)
            held.append(_other_shapes(source))
            continue
        splits = {name: f"{source}@{name}" for name in ("train", "test", "val") if _readable(f"{source}@{name}")}
        if not splits and not test:
            _data(source)  # what is wrong with it is said now
        train.append(splits.get("train", source))
        held += [splits[name] for name in ("test", "val") if name in splits][:1]
    if not held and not test:
        raise InputError("the data have no test split: name pictures to measure on as `test_data`")
    return tuple(train), tuple(test) or tuple(held)


def _other_shapes(source: str) -> str:
    """Scenes that the training has not seen."""
    name, _, rest = source.partition(":")
    options = [part for part in rest.split(",") if part and not part.startswith("seed=")]
    return f"{name}:{','.join([*options, 'seed=1'])}"


def _readable(source: str) -> bool:
    try:
        return len(_data(source)) > 0
    except InputError:
        return False


@lru_cache(maxsize=16)
def _data(source: str) -> DataSet:
    return read_data(source)


@lru_cache(maxsize=16)
def _content(source: str) -> str:
    return content_digest(_data(source))


@lru_cache(maxsize=8)
def _classifier(name: str, weights: str | None, device: str) -> Classifier:
    made = tiny_classifier(weights) if name == TINY else load_classifier(name, weights)
    return made.to(device)
