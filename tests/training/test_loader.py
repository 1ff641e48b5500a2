"""One loader for a whole run: its order, its cache, and the way pictures take to an accelerator."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.data import DataSet, read_data
from maskwise.images import to_bytes
from maskwise.training import Recipe
from maskwise.training.crops import PackedCrops
from maskwise.training.loader import Loader

RECIPE = Recipe(epochs=4, fraction=1.0, batch_size=4, input_size=32, seed=3, crop_area=(0.5, 1.0))


def loader(folder: Path, **settings: Any) -> Loader:
    return Loader([read_data(folder)], RECIPE, 32, **settings)


def same(a: list[tuple[Tensor, Tensor]], b: list[tuple[Tensor, Tensor]]) -> bool:
    return len(a) == len(b) and all(
        torch.equal(x[0], y[0]) and torch.equal(x[1], y[1]) for x, y in zip(a, b, strict=True)
    )


def test_steps_go_on_over_the_end_of_an_epoch(picture_folder: Path) -> None:
    """20 pictures are 5 steps: each epoch has every picture once, and any step can be asked for alone."""
    one = loader(picture_folder)
    whole = list(one.batches(0, 15))
    assert same(whole[3:12], list(loader(picture_folder, workers=3).batches(3, 12)))
    assert same(whole[7:8], [one.batch(7)])
    assert not same(whole[:5], whole[5:10])
    assert all(sorted(one._order(epoch)) == [(i, 0) for i in range(20)] for epoch in range(3))


def test_a_cache_changes_nothing_but_how_often_a_picture_is_read(
    picture_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All fit; some fit; none is kept."""
    expected = list(loader(picture_folder).batches(0, 15))
    data = read_data(picture_folder)
    read, size = type(data).image, to_bytes(data.image(data.records[0])).numel()
    for kept, times in ((20, 20), (7, 7 + 3 * 13), (0, 60)):
        seen: list[str] = []

        def image(self: DataSet, record: Any, seen: list[str] = seen) -> Tensor:
            seen.append(record.id)
            return read(self, record)

        with monkeypatch.context() as patch:
            patch.setattr(type(data), "image", image)
            assert same(list(loader(picture_folder, cache_bytes=kept * size).batches(0, 15)), expected)
        assert len(seen) == times


def test_what_is_packed_for_an_accelerator_is_the_same_batch(picture_folder: Path) -> None:
    """As the meta device stands in for one: threads give bytes and matrices, which are computed here on the CPU."""
    plain = loader(picture_folder)
    packing = loader(picture_folder, device=torch.device("meta"))
    images, maps, labels = packing._read(6, 0, 1)
    assert maps is None
    assert isinstance(images, PackedCrops) and images.pixels.dtype == torch.uint8
    expected = plain.batch(6)
    torch.testing.assert_close(images.on(torch.device("cpu")), expected[0], atol=2e-5, rtol=0)
    assert torch.equal(labels, expected[1])


def test_who_stops_early_leaves_no_thread_waiting(picture_folder: Path) -> None:
    import threading

    before = threading.active_count()
    batches = loader(picture_folder, workers=2).batches(0, 1000)
    next(batches)
    batches.close()
    assert threading.active_count() == before


def _damage(folder: Path, names: set[str]) -> None:
    for record in read_data(folder).records:
        if record.id in names:
            (folder / "images" / record.id).write_bytes(b"not a picture")


def test_a_damaged_picture_ends_it_or_the_next_one_takes_its_place(picture_folder: Path) -> None:
    """With its label; all other crops are those of an undamaged run, and any step can be asked for alone."""
    expected = loader(picture_folder)
    ids = [record.id for record in read_data(picture_folder).records]
    broken = {3, 4, 19}
    stand_in = {3: 5, 4: 5, 19: 0}
    _damage(picture_folder, {ids[i] for i in broken})
    with pytest.raises(InputError, match="`skip_damaged=True` passes over such pictures"):
        list(loader(picture_folder).batches(0, 5))
    skipping = loader(picture_folder, skip_damaged=True)
    found = list(skipping.batches(0, 5))
    assert skipping.damaged.keys() == broken and list(skipping.damaged_names()) == [ids[i] for i in sorted(broken)]
    for step, (_, labels) in enumerate(found):
        wanted, names = expected._order(0)[4 * step : 4 * step + 4], expected.labels
        assert labels.tolist() == [names[stand_in.get(i, i)] for i, _ in wanted]
    assert same(found[2:4], list(loader(picture_folder, skip_damaged=True, workers=3).batches(2, 4))), "as if resumed"


def test_undamaged_pictures_keep_their_crops(picture_folder: Path) -> None:
    whole = list(loader(picture_folder).batches(0, 5))
    ids = [record.id for record in read_data(picture_folder).records]
    _damage(picture_folder, {ids[7]})
    skipping = loader(picture_folder, skip_damaged=True)
    for step, (images, _) in enumerate(skipping.batches(0, 5)):
        for k, (i, _) in enumerate(skipping._order(0)[4 * step : 4 * step + 4]):
            assert torch.equal(images[k], whole[step][0][k]) == (i != 7)


def test_none_that_can_be_read(picture_folder: Path, tiny: Classifier) -> None:
    _damage(picture_folder, {record.id for record in read_data(picture_folder).records})
    with pytest.raises(InputError, match="none of the 20 pictures can be read; .*not a picture"):
        loader(picture_folder, skip_damaged=True).batch(0)


def test_a_damaged_picture_is_labelled_as_what_takes_its_place(picture_folder: Path, tiny: Classifier) -> None:
    data = read_data(picture_folder)
    _damage(picture_folder, {data.records[3].id})
    found = Loader([data], RECIPE, 32, skip_damaged=True)
    found.labels = [None] * 20
    assert found.label_the_rest(tiny) == 20
    assert found.labels[3] == found.labels[4] and list(found.damaged) == [3]
