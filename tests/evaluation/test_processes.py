"""Two processes: every metric's state adds up, and an evaluation has the rows of one process, nothing twice."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from conftest import tiny_net
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.evaluation import Contender, Settings, leaderboard, measure
from maskwise.evaluation.processes import launched
from maskwise.measures import metric

DATA = "shapes:n=7,size=48,seed=3,labels=own"


def pixels(images: Tensor, targets: Tensor) -> Tensor:
    return images.mean(1)


def judge() -> Classifier:
    return Classifier(tiny_net(classes=8), input_size=32, name="tiny")


NAMES = ("le", "pointing", "pointing_difficult", "pxap", "area_std", "insertion_deletion", "sm", "f1")


def board(out: Path | None, rows: int = 7) -> dict[str, tuple[float, float, float, int]]:
    """Values, intervals and numbers of pictures."""
    asked = judge()
    measures = {name: metric(name, asked) for name in NAMES}
    settings = Settings(batch=2, limit=rows)
    measured = measure([Contender.of("pixels", pixels)], asked, [DATA], measures, settings, out)
    cells = leaderboard(measured, 50).lines[0].cells
    return {name: (cell.value, cell.low, cell.high, cell.pictures) for name, cell in cells.items()}


def states(rank: int, world: int, pictures: int) -> dict[str, float]:
    """Metrics of all sorts of statistics, each process feeding them its own part."""
    draws = torch.Generator().manual_seed(1)
    maps, images = torch.rand(7, 32, 32, generator=draws), torch.rand(7, 3, 32, 32, generator=draws)
    masks, boxes = maps > 0.6, [torch.tensor([[2.0, 3, 20, 4 + 3 * i]]) for i in range(7)]
    mine = list(range(pictures))[rank::world]
    found, asked = {}, judge()
    for name in ("area_std", "pxap", "le", "max_box_acc", "insertion_deletion"):
        made = metric(name, asked)
        truth = {"masks": masks[mine], "boxes": [boxes[i] for i in mine], "images": images[mine]}
        if mine:
            made.update(maps[mine], **{need: truth[need] for need in made.needs})
        found[name] = float(made.compute())
    return found


def work(rank: int, port: int, folder: Path) -> None:
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": "2"}
    with launched() as speaks:
        assert speaks == (rank == 0) and dist.get_world_size() == 2
        found = {"states": states(rank, 2, 7), "one picture": states(rank, 2, 1), "rows": board(None)}
        found["kept"] = board(folder / "out")
        found["fewer pictures than processes"] = board(None, 1)
    assert not dist.is_initialized()
    torch.save(found, folder / f"{rank}.pt")


def test_two_processes_say_what_one_says(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(work, args=(port, tmp_path), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for name, value in states(0, 1, 7).items():
        assert first["states"][name] == pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True), name
        assert second["states"][name] == first["states"][name]
    for name, value in states(0, 1, 1).items():
        assert first["one picture"][name] == pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True), name
    alone = board(None)
    assert alone.keys() == first["rows"].keys() and set(alone) == set(NAMES)
    for name, cell in alone.items():
        for found in (first, second):
            for run in ("rows", "kept"):
                assert found[run][name] == pytest.approx(cell, abs=1e-5, nan_ok=True), name
    assert first["fewer pictures than processes"]["le"][3] == 1
    again = board(tmp_path / "out")
    assert again["le"] == alone["le"], "rows of two processes serve one"


def test_alone_one_speaks() -> None:
    with launched() as speaks:
        assert speaks and not dist.is_initialized()
