"""Maps of a network in training: when, of what, to whom; and the training is what it would have been."""

from __future__ import annotations

import copy
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_net
from torch import nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.drawing import heat_scale, overlay
from maskwise.explainers import explainer
from maskwise.explainers.adapter import as_heatmaps
from maskwise.training.watch.during_training import (
    MapsDuringTraining,
    to_mlflow,
    to_tensorboard,
    to_wandb,
    with_its_network,
)

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Kept:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[tuple[int, Any]] = []

    def __call__(self, step: int, drawn: Any) -> None:
        self.got.append((step, drawn))


def watched(net: nn.Module, sink: Any, **options: Any) -> MapsDuringTraining:
    return MapsDuringTraining(explainer("grad_cam", Classifier(net, input_size=32)), IMAGES, sink, **options)


def trained(net: nn.Module, watch: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    net.train()
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    for step in range(5):
        loss = net(torch.rand(4, 3, 32, 32)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        watch(step)
        optimiser.step()
        assert net.training
    return net.state_dict()


def test_a_plain_loop_goes_on_as_if_nobody_looked() -> None:
    sink, net = Kept(), tiny_net()
    twin = copy.deepcopy(net)
    mine, alone = trained(net, watched(net, sink, every=2)), trained(twin, lambda step: None)
    assert all(torch.equal(mine[name], alone[name]) for name in alone)
    assert [step for step, _ in sink.got] == [0, 2, 4]
    assert all(len(drawn) == 2 and drawn[0].shape == (32, 32, 3) for _, drawn in sink.got)
    assert not np.array_equal(sink.got[0][1][0], sink.got[2][1][0]), "the network has changed"


def test_the_picture_is_the_map_of_the_class_asked_for() -> None:
    sink, net = Kept(), tiny_net()
    watched(net, sink, targets=torch.tensor([3, 1]))(0)
    maps = explainer("grad_cam", Classifier(net, input_size=32))(IMAGES, torch.tensor([3, 1]))
    for drawn, image, one in zip(sink.got[0][1], IMAGES, maps, strict=True):
        assert np.array_equal(drawn, overlay(image, one, scale=heat_scale(one)))


def test_a_sink_that_fails_warns_once() -> None:
    asked: list[int] = []

    def broken(step: int, drawn: Any) -> None:
        asked.append(step)
        raise OSError("no space left")

    watch = watched(tiny_net(), broken, every=1)
    with pytest.warns(UserWarning, match="no longer shown.*no space left"):
        watch(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watch(1)
    assert len(asked) == 1, "it is not asked again"
    with pytest.raises(InputError, match="at least one picture"):
        watched(tiny_net(), broken, every=0)


def test_lightning_calls_it(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")

    class Module(lightning.LightningModule):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = tiny_net()

        def training_step(self, batch: Any, _index: int) -> torch.Tensor:
            return self.net(batch[0]).square().mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.01)

    sink, module = Kept(), Module()
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.rand(8, 3, 32, 32)), batch_size=2)
    lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
        callbacks=[watched(module.net, sink, every=2).for_lightning()],
    ).fit(module, data)  # fmt: skip
    assert [step for step, _ in sink.got] == [0, 2, 4]
    batches = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.rand(12, 3, 32, 32)), batch_size=2)
    sink.got.clear()
    lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, accumulate_grad_batches=3,
        callbacks=[watched(module.net, sink, every=1).for_lightning()],
    ).fit(module, batches)  # fmt: skip
    assert [step for step, _ in sink.got] == [0, 1, 2], "three batches are one step, which is looked at once"


def test_only_lightning_s_first_process_looks() -> None:
    pytest.importorskip("lightning.pytorch")
    sink = Kept()
    callback = watched(tiny_net(), sink, every=1).for_lightning()
    for first in (True, False):
        callback.on_train_batch_end(SimpleNamespace(global_step=1 + first, is_global_zero=first))
    assert [step for step, _ in sink.got] == [2]


def test_it_follows_a_network_that_a_trainer_moved() -> None:
    net = tiny_net()
    own = Classifier(net, input_size=32)
    assert with_its_network(own).type == "cpu"
    net.to("meta")  # a device that is there on every machine
    assert own.device.type == "cpu" and with_its_network(own).type == "meta"
    assert own.mean.device.type == own.std.device.type == "meta"
    watch = MapsDuringTraining(explainer("rise", Classifier(by_colour, input_size=32), masks=2), IMAGES, Kept())
    watch(0)
    assert len(watch.sink.got) == 1 and not watch.lost, "a black box has no weights to follow"  # type: ignore[attr-defined]


def by_colour(images: torch.Tensor) -> torch.Tensor:
    return images.mean((2, 3)).softmax(1)


def test_transformers_calls_it() -> None:
    pytest.importorskip("transformers")
    sink = Kept()
    callback = watched(tiny_net(), sink, every=2).for_transformers()
    from transformers import TrainerCallback

    assert isinstance(callback, TrainerCallback)
    callback.on_train_begin(None, SimpleNamespace(global_step=0, is_world_process_zero=True), None, model=None)
    for step in range(1, 5):
        for main in (True, False):
            callback.on_step_end(None, SimpleNamespace(global_step=step, is_world_process_zero=main), None, model=None)
    assert [step for step, _ in sink.got] == [0, 2, 4]


def test_tensorboard_and_mlflow_and_wandb_get_what_they_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = [np.full((4, 6, 3), i, np.uint8) for i in (1, 2)]
    got: list[Any] = []
    writer = SimpleNamespace(add_images=lambda *said, **more: got.append((said, more)))
    to_tensorboard(writer)(7, drawn)
    (tag, pictures, step), more = got[0]
    assert (tag, step, more, pictures.shape) == ("maps", 7, {"dataformats": "NHWC"}, (2, 4, 6, 3))
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(log_image=lambda *said: got.append(said)))
    to_mlflow()(7, drawn)
    assert [said[1] for said in got[1:]] == ["maps/0-step00000007.png", "maps/1-step00000007.png"]
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(Image=lambda picture, caption: (caption, picture.sum())))
    run = SimpleNamespace(log=lambda *said, **more: got.append((said, more)))
    to_wandb(run, "looks")(7, drawn)
    assert got[-1] == (({"looks": [("0", 72), ("1", 144)]},), {"step": 7})


def test_fiftyone_gets_arrays_in_their_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fiftyone", SimpleNamespace(Heatmap=lambda **said: said))
    maps = torch.rand(2, 4, 5)
    labels = as_heatmaps(maps)
    assert [label["range"] for label in labels] == [[0, 1]] * 2
    assert all(np.array_equal(label["map"], one.numpy()) for label, one in zip(labels, maps, strict=True))
