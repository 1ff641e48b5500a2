"""Classifiers that are trained once and kept on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from maskwise.checks.cells import Cells
from maskwise.checks.networks import PRETRAINED, Maker, name_of, network_maker
from maskwise.checks.pictures import Labelled
from maskwise.checks.small_training import SmallTraining, Trained, fresh_classifier, train_classifier
from maskwise.checks.subject import ProgressCallback
from maskwise.classifiers import Classifier
from maskwise.core.files import atomic_write
from maskwise.core.weights import fill, read_weights


@dataclass(frozen=True)
class StoredTrainings:
    """Trains classifiers, or takes those that an earlier run has left."""

    cells: Cells
    folder: Path
    network: str | Maker
    pretrained: Classifier | None
    device: torch.device | str

    def trained(
        self, which: str, data: Labelled, settings: SmallTraining, progress: ProgressCallback | None
    ) -> Trained:
        make, name = network_maker(self.network, self.pretrained), f"{name_of(self.network)}, {which}"
        normalisation = None
        if self.network == PRETRAINED and self.pretrained is not None:
            normalisation = (self.pretrained.mean.cpu(), self.pretrained.std.cpu())
        path = self.folder / "classifiers" / f"{which.replace(' ', '_')}.safetensors"
        row = self.cells.find(labels=which)
        if row is not None and {"accuracy", "epochs"} <= row.keys() and path.is_file():
            with torch.random.fork_rng(devices=[]):
                classifier = fresh_classifier(make, data, name, normalisation)
            fill(classifier.module, read_weights(path), f"{path}: not the weights of this run's classifier; delete it")
            return Trained(classifier.to(self.device), row["accuracy"], row["epochs"])
        found = train_classifier(
            make, data, settings, name=name, normalisation=normalisation, device=self.device, progress=progress
        )
        with atomic_write(path) as temporary:
            state = found.classifier.module.state_dict()
            save_file({key: value.cpu().contiguous() for key, value in state.items()}, temporary)
        # The row comes last: it says that the weights are whole.
        self.cells.add({"labels": which, "accuracy": found.accuracy, "epochs": found.epochs})
        return found
