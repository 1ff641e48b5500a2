"""1, 2 and 3 processes at one evaluation say the same; one that dies fails the others, and a rerun does the rest."""

from __future__ import annotations

import os
import signal
import socket
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
from conftest import tiny_net
from faults.killable import context, same
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.evaluation import Contender, Settings, leaderboard, measure
from maskwise.evaluation.processes import TIMEOUT, launched, patience
from maskwise.explainers import explainer
from maskwise.measures import metric

DATA = "shapes:n=7,size=48,seed=3,labels=own"

Measured = tuple[
    dict[str, Tensor], dict[str, tuple[float, float, float, int]], int
]  # rows, cells, and how many maps were made


def rows_and_cells(out: Path | None) -> Measured:
    """Rows and cells of seven pictures, and maps made by this process; one picture a batch, so that none is alike."""
    torch.set_num_threads(1)
    classifier = Classifier(tiny_net(classes=8), input_size=32, name="tiny")
    metrics = {name: metric(name, classifier) for name in ("le", "pxap", "area_std", "insertion_deletion")}
    contenders = [Contender.of(name, explainer(name, classifier)) for name in ("grad_cam", "gradient")]
    found = measure(contenders, classifier, [DATA], metrics, Settings(batch=1), out)
    rows = {"/".join(key): value for key, value in found.statistics.items() if key[2] in metrics}
    lines = leaderboard(found, 50).lines
    cells = {
        f"{line.method}/{k}": (c.value, c.low, c.high, c.pictures) for line in lines for k, c in line.cells.items()
    }
    return rows, cells, sum(found.seen.values())


def rank_of(rank: int, world: int, port: int, out: Path | None, ending: str, answer: Connection) -> None:
    """One process; rank 1 of those with an ``ending`` kills or stops itself after its first picture."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": str(world)}
    if ending:
        os.environ[TIMEOUT] = "8" if ending == "stop" else "120"
    if ending and rank == 1:
        import maskwise.evaluation.run as module

        real = module._measure

        def last(*args: object) -> int:
            real(*args)  # type: ignore[arg-type]
            os.kill(os.getpid(), signal.SIGKILL if ending == "kill" else signal.SIGSTOP)
            return 0

        module._measure = last  # type: ignore[assignment]
    try:
        with launched():
            rows, cells, made = rows_and_cells(out)
        answer.send(({key: value.numpy() for key, value in rows.items()}, cells, made))
    except InputError as error:
        answer.send(str(error))


def together(world: int, out: Path | None = None, ending: str = "") -> list[object]:
    """What each process says; nothing of one that is gone."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ends = [context().Pipe(duplex=False) for _ in range(world)]
    processes = [
        context().Process(target=rank_of, args=(rank, world, port, out, ending, ends[rank][1])) for rank in range(world)
    ]
    for process in processes:
        process.start()
    said = [None if ending and rank == 1 else ends[rank][0].recv() for rank in range(world)]
    for process in processes:
        if not ending:
            process.join(60)
        process.kill()  # one that was stopped would never end
    return said


@pytest.fixture(scope="module")
def alone() -> Measured:
    return rows_and_cells(None)


@pytest.mark.parametrize("world", [2, 3])
def test_any_number_of_processes_says_the_same(world: int, alone: Measured) -> None:
    rows, cells, made = alone
    said = together(world)
    for theirs, their_cells, _ in said:  # type: ignore[misc]
        assert same({k: torch.from_numpy(v) for k, v in theirs.items()}, rows)
        assert their_cells.keys() == cells.keys()
        assert same(their_cells, cells), "leaderboards alike to the last bit"
    assert sum(m for *_, m in said) == made == 14, "every picture once for each method, and none twice"


@pytest.mark.parametrize("ending", ["kill", "stop"])
def test_a_dead_rank_fails_the_others_and_a_rerun_does_what_is_missing(
    ending: str, tmp_path: Path, alone: Measured
) -> None:
    began = time.monotonic()
    said = together(2, tmp_path, ending)
    assert time.monotonic() - began < 110, "not until the patience of 120 s for a silent one is over"
    assert isinstance(said[0], str) and "run the same command again" in said[0] and "\n" not in said[0]
    rows, cells, made = rows_and_cells(tmp_path)
    assert 0 < made < 14, "what the first run kept is not made again"
    assert same(rows, alone[0]) and same(cells, alone[1])


def test_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    assert patience().total_seconds() == 1800
    monkeypatch.setenv(TIMEOUT, "2.5")
    assert patience().total_seconds() == 2.5
    for bad in ("soon", "0", "-1", "nan", "inf"):
        monkeypatch.setenv(TIMEOUT, bad)
        with pytest.raises(InputError, match=TIMEOUT):
            patience()


def test_two_evaluations_share_a_folder(tmp_path: Path, alone: Measured) -> None:
    """At the same time, without a lock of ours: rows are added in transactions, and equal ones replace each other."""
    ends = [context().Pipe(duplex=False) for _ in range(2)]
    processes = [context().Process(target=_share, args=(tmp_path, end)) for _, end in ends]
    for process in processes:
        process.start()
    for here, _ in ends:
        assert same({k: torch.from_numpy(v) for k, v in here.recv().items()}, alone[0])
    for process in processes:
        process.join()
    assert rows_and_cells(tmp_path)[2] == 0


def _share(out: Path, answer: Connection) -> None:
    answer.send({key: value.numpy() for key, value in rows_and_cells(out)[0].items()})
