"""One data set read by many at once: threads, processes forked and spawned, pickled copies."""

import multiprocessing
import pickle
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from data.making import picture
from torch.utils.data import ConcatDataset, DataLoader

from maskwise.data import DataSet, Sample, read_data
from maskwise.data.pack import pack


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Sixty pictures, each of its own grey."""
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as z:
        z.writestr("set/images.csv", "file\n" + "".join(f"{i}.png\n" for i in range(60)))
        for i in range(60):
            z.write(picture(tmp_path / "p.png", 40, 30, value=i), f"set/{i}.png")
    return tmp_path / "set.zip"


def greys(images: list[torch.Tensor]) -> list[int]:
    assert all(image.min() == image.max() for image in images)
    return [round(float(image.max()) * 255) for image in images]


def test_threads(path: Path) -> None:
    data = read_data(path)
    with ThreadPoolExecutor(8) as pool:
        assert greys(list(pool.map(data.image, data.records * 5))) == list(range(60)) * 5


def test_a_pickled_copy_opens_the_archive_itself(path: Path) -> None:
    data = read_data(path)
    data[0]
    assert greys([pickle.loads(pickle.dumps(data))[7].image]) == [7]


def read_all(data: DataSet, queue: Any) -> None:
    try:
        queue.put([greys([sample.image for sample in data]) for _ in range(10)])
    except Exception as error:
        queue.put(repr(error))


def test_forked_processes_do_not_move_one_another_s_position(path: Path) -> None:
    """All inherit the archive that was opened before the fork, and read it at the same time."""
    data = read_data(path)
    data[0]
    fork = multiprocessing.get_context("fork")
    queue = fork.SimpleQueue()
    children = [fork.Process(target=read_all, args=(data, queue)) for _ in range(3)]
    for child in children:
        child.start()
    found = [queue.get() for _ in children]
    for child in children:
        child.join()
    assert found == [[list(range(60))] * 10] * 3


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_data_loader_workers(path: Path, start: str, tmp_path: Path) -> None:
    """Sets of every kind in one, since a worker that is spawned takes seconds to begin."""
    (tmp_path / "folder").mkdir()
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path)
    (tmp_path / "set" / "images.csv").unlink()
    (tmp_path / "set").rename(tmp_path / "folder" / "images")
    pack(read_data(path), tmp_path / "shards", count=25)
    sources = [path, tmp_path / "folder", tmp_path / "shards", "shapes:n=12,size=40", "twins:shapes:n=12,size=40"]
    data: ConcatDataset[Sample] = ConcatDataset([read_data(source) for source in sources])
    expected = [sample.image for sample in data]
    assert len(expected) > 3 * 60
    loader = DataLoader(data, batch_size=None, num_workers=2, multiprocessing_context=start)  # type: ignore[arg-type]
    assert all(torch.equal(sample.image, image) for sample, image in zip(loader, expected, strict=True))
