"""Other people's dashboards: what the log holds goes to TensorBoard, Weights & Biases, MLflow or a CSV file, too."""

from __future__ import annotations

import importlib
import logging
import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from importlib import util
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from maskwise.core.errors import InputError
from maskwise.core.registry import Registry
from maskwise.training.callbacks import TrainingState
from maskwise.training.watch.contact_sheet import ContactSheets
from maskwise.training.watch.watcher import Watcher

PROJECT = "maskwise"  # what runs are filed under, where the user's settings name nothing else
LogLine = Mapping[str, float]


class Logger(Watcher):
    """Sends each line of the log on, and each contact sheet where pictures can be sent.

    What a subclass must remember to go on with the same run is its ``run``; it goes into the checkpoints.

    Args:
        sheets: their pictures are sent; None where there are none.
    """

    needs: ClassVar[tuple[str, ...]] = ()  # modules, any one of which does
    run: str | None = None

    def __init__(self, sheets: ContactSheets | None = None) -> None:
        self.sheets, self.started = sheets, False
        self.sent: Path | None = None

    @abstractmethod
    def start(self, state: TrainingState) -> None:
        """Opens what is written to; ``state.step`` steps are behind it."""

    @abstractmethod
    def scalars(self, step: int, values: LogLine) -> None:
        """Numbers of one step, by name."""

    def image(self, step: int, path: Path) -> None:
        """A picture after a step."""

    @abstractmethod
    def close(self, well: bool) -> None:
        """The training has ended, well or not."""

    def on_look(self, state: TrainingState) -> None:
        with self.careful():
            if not self.started and not self.lost:
                self.start(state)
                self.started = True
            self._send_sheet(state)

    def on_step(self, state: TrainingState) -> None:
        if self.started and not self.lost:
            with self.careful():
                for line in state.fresh:
                    self.scalars(int(line["step"]), {name: v for name, v in line.items() if name != "step"})

    def on_end(self, state: TrainingState) -> None:
        with self.careful():
            self._send_sheet(state)
            self._close(not state.interrupted)

    def on_error(self, state: TrainingState, error: BaseException) -> None:
        with self.careful():
            self._close(False)

    def state_dict(self) -> dict[str, Any]:
        return {"run": self.run}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.run = state["run"]

    def _send_sheet(self, state: TrainingState) -> None:
        latest = self.sheets.latest if self.sheets else None
        if self.started and not self.lost and latest is not None and latest != self.sent:
            self.image(state.step, latest)
            self.sent = latest

    def _close(self, well: bool) -> None:
        if self.started:
            self.started = False
            self.close(well)


loggers: Registry[type[Logger]] = Registry("logger")


def made(names: Sequence[str], sheets: ContactSheets | None = None) -> list[Logger]:
    """A logger for each name, each once."""
    return [loggers.get(name)(sheets) for name in dict.fromkeys(names)]


def check(names: Sequence[str]) -> None:
    """Says before any work what is unknown or not installed.

    Raises:
        InputError: a name that is unknown, or a library that is missing.
    """
    for name in names:
        needs = loggers.get(name).needs
        if needs and not any(util.find_spec(module) for module in needs):
            raise InputError(f"`log={name}` needs {needs[0]}: pip install 'maskwise[watch]' or pip install {needs[0]}")


@loggers.register("csv")
class CsvLog(Logger):
    """``csv/metrics.csv``, by Lightning."""

    what = "the CSV file"

    def start(self, state: TrainingState) -> None:
        from lightning.fabric.loggers import CSVLogger

        from maskwise.training.watch.page import read_log

        # Lightning begins its file anew, so what a resumed run has behind it is written again.
        (state.out / "csv" / "metrics.csv").unlink(missing_ok=True)
        self.logger = CSVLogger(state.out, "csv", "")
        for line in read_log(state.out / "log.jsonl")[: state.step]:
            self.scalars(int(line["step"]), {name: v for name, v in line.items() if name != "step"})

    def scalars(self, step: int, values: LogLine) -> None:
        self.logger.log_metrics(dict(values), step)

    def close(self, well: bool) -> None:
        self.logger.finalize("success" if well else "failed")


@loggers.register("tensorboard")
class TensorBoardLog(Logger):
    """Event files in ``tensorboard/``, by Lightning: ``tensorboard --logdir OUT``."""

    what = "TensorBoard's log"
    needs = ("tensorboard", "tensorboardX")

    def start(self, state: TrainingState) -> None:
        from lightning.fabric.loggers import TensorBoardLogger

        # Steps past the one that a resumed run goes on from are taken back.
        self.logger = TensorBoardLogger(state.out, "tensorboard", "", purge_step=state.step + 1)

    def scalars(self, step: int, values: LogLine) -> None:
        self.logger.log_metrics(dict(values), step)

    def image(self, step: int, path: Path) -> None:
        self.logger.experiment.add_image("looks", _pixels(path), step, dataformats="HWC")

    def close(self, well: bool) -> None:
        self.logger.finalize("success" if well else "failed")
        self.logger.experiment.close()


@loggers.register("wandb")
class WandbLog(Logger):
    """A run in Weights & Biases; its own environment variables say where and for whom (``WANDB_MODE=offline``)."""

    what = "the log at Weights & Biases"
    needs = ("wandb",)

    def start(self, state: TrainingState) -> None:
        self.library = importlib.import_module("wandb")
        self.writer = self.library.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT), name=state.out.name, dir=str(state.out), id=self.run,
            resume="allow", config=state.trainer.recipe.model_dump(mode="json"),
        )  # fmt: skip
        self.run = self.writer.id
        # Their own count of steps only goes up, while a resumed run may take some again.
        self.writer.define_metric("*", step_metric="step")

    def scalars(self, step: int, values: LogLine) -> None:
        self.writer.log({**values, "step": step})

    def image(self, step: int, path: Path) -> None:
        self.writer.log({"looks": self.library.Image(str(path)), "step": step})

    def close(self, well: bool) -> None:
        self.writer.finish(exit_code=0 if well else 1)


@loggers.register("mlflow")
class MlflowLog(Logger):
    """A run of MLflow: at ``MLFLOW_TRACKING_URI``, or in ``mlflow.db`` and ``mlruns/`` beside the log."""

    what = "MLflow's log"
    needs = ("mlflow",)

    def start(self, state: TrainingState) -> None:
        for library in ("mlflow", "alembic"):  # which say how the data base was made
            logging.getLogger(library).setLevel(logging.ERROR)
        tracking = importlib.import_module("mlflow.tracking")
        where = os.environ.get("MLFLOW_TRACKING_URI")
        files = None if where else (state.out / "mlruns").resolve().as_uri()
        self.client = tracking.MlflowClient(where or f"sqlite:///{(state.out / 'mlflow.db').resolve()}")
        if self.run is None:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
            found = self.client.get_experiment_by_name(name)
            experiment = self.client.create_experiment(name, files) if found is None else found.experiment_id
            self.run = self.client.create_run(experiment, run_name=state.out.name).info.run_id
            for key, value in state.trainer.recipe.model_dump(mode="json").items():
                self.client.log_param(self.run, key, str(value)[:500])
        else:
            self.client.set_terminated(self.run, "RUNNING")

    def scalars(self, step: int, values: LogLine) -> None:
        for name, value in values.items():
            self.client.log_metric(self.run, name, value, step=step)

    def image(self, step: int, path: Path) -> None:
        self.client.log_artifact(self.run, str(path), "looks")

    def close(self, well: bool) -> None:
        self.client.set_terminated(self.run, "FINISHED" if well else "FAILED")


def _pixels(path: Path) -> np.ndarray:
    """(H,W,3) uint8."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
