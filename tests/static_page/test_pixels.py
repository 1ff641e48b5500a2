"""What the page computes itself, in a real browser, against the Python package: resizing, maps, boxes, files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from browser import opened
from static_files import served

import maskwise as mw
from maskwise.box import binarise
from maskwise.classifiers.link import probabilities_of
from maskwise.images import resize, with_channels
from maskwise.static_page.page import FILES

LOAD = "async ({name, given}) => { const m = await import('/pixels.js'); return (%s)(m, given); }"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("pixels")
    (folder / "pixels.js").write_bytes((FILES / "pixels.js").read_bytes())
    (folder / "index.html").write_text("<!doctype html><link rel=icon href=data:,>")
    with served(folder) as url, opened(url) as tab:
        yield tab


def asked(tab: Any, function: str, **given: Any) -> Any:
    return tab.evaluate(LOAD % function, {"name": "", "given": given})


def size(height: int, width: int) -> dict[str, int]:
    return {"height": height, "width": width}


SIZES = [((50, 40), (32, 32)), ((7, 300), (32, 24)), ((33, 32), (32, 32)), ((10, 9), (32, 48)), ((1, 1), (3, 2))]


@pytest.mark.parametrize(("from_", "to"), SIZES)
def test_pictures_are_resized_as_by_the_package(tab: Any, from_: tuple[int, int], to: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*from_, 4), dtype=np.uint8)
    function = """(m, {bytes, from, to}) => {
      const rows = (y, count) => bytes.slice(4 * y * from.width, 4 * (y + count) * from.width);
      const planes = m.resized(rows, from, to);
      return [Array.from(planes), Array.from(m.grey(planes))]; }"""
    got, grey = asked(tab, function, **{"bytes": picture.flatten().tolist(), "from": size(*from_), "to": size(*to)})
    images = torch.from_numpy(picture[..., :3]).permute(2, 0, 1)[None].double() / 255
    expected = resize(images.float(), to)
    assert (torch.tensor(got).reshape(expected.shape) - expected).abs().max() < 2e-6
    assert (torch.tensor(grey).reshape(1, 1, *to) - with_channels(expected, 1)).abs().max() < 2e-6


def blobs(height: int, width: int, seed: int) -> torch.Tensor:
    draws = torch.rand(1, 1, 6, 5, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(draws, (height, width), mode="bicubic", align_corners=False).clamp(0, 1)[0, 0]


@pytest.mark.parametrize(("from_", "to"), [((32, 32), (50, 71)), ((32, 24), (20, 90)), ((16, 16), (16, 16))])
@pytest.mark.parametrize("seed", range(4))
def test_maps_and_boxes_are_those_of_the_package(
    tab: Any, from_: tuple[int, int], to: tuple[int, int], seed: int
) -> None:
    given = blobs(*from_, seed)
    function = """(m, {map, from, to}) => {
      const average = m.mean(map, from, to), whole = [], mask = [];
      m.eachRow(map, from, to, (_, row) => { whole.push(...row); mask.push(...row.map(v => +m.kept(v, average))); });
      return [whole, average, mask, m.box(map, from, to, average), Array.from(m.npy(map, from, to))]; }"""
    whole, average, mask, box, npy = asked(
        tab, function, **{"map": given.flatten().tolist(), "from": size(*from_), "to": size(*to)}
    )
    expected = F.interpolate(given[None, None], to, mode="bilinear", align_corners=False)[0]
    assert (torch.tensor(whole).reshape(1, *to) - expected).abs().max() < 1e-6
    assert average == pytest.approx(expected.double().mean().item(), abs=1e-6)
    theirs = torch.tensor(whole).reshape(1, *to)
    assert torch.equal(torch.tensor(mask).reshape(1, *to).bool(), binarise(theirs))
    assert box == mw.boxes(theirs)[0].tolist()
    saved = np.load(io.BytesIO(bytes(npy)))
    assert saved.dtype == np.float32 and saved.shape == to and np.abs(saved - expected[0].numpy()).max() < 1e-6


CASES = {
    "none": torch.zeros(4, 5),
    "all": torch.full((4, 5), 0.7),
    "of equals the first": torch.tensor([[0, 0, 1, 1.0], [1, 0, 0, 0], [1, 0, 0, 0]]),
    "of equals the first, though it went on later": torch.tensor([[1, 0, 1, 1.0], [1, 0, 0, 0]]),
    "diagonals do not join": torch.eye(5),
    "arms that meet below": torch.tensor([[1, 0, 1, 0, 1.0], [1, 0, 1, 0, 1], [1, 1, 1, 0, 0], [0, 0, 0, 1, 1]]),
    "arms that meet late": torch.tensor([[0, 0, 0, 1.0], [0, 1, 0, 1], [1, 1, 0, 1], [0, 1, 1, 1], [1, 0, 0, 0]]),
}


@pytest.mark.parametrize("name", CASES)
def test_boxes_of_shapes(tab: Any, name: str) -> None:
    case = CASES[name]
    function = "(m, {map, at}) => m.box(map, at, at, m.mean(map, at, at))"
    got = asked(tab, function, map=case.flatten().tolist(), at=size(*case.shape))
    assert got == mw.boxes(case[None])[0].tolist()


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
def test_probabilities(tab: Any, activation: Any) -> None:
    logits = [3.0, -2.0, 800.0, 799.0, 0.25]
    got = asked(tab, "(m, {z, a}) => m.probabilities(z, a)", z=logits, a=activation)
    assert got == pytest.approx(probabilities_of(torch.tensor([logits]).double(), activation)[0].tolist(), abs=1e-12)


def test_the_programs_are_where_the_tests_look() -> None:
    assert {path.name for path in Path(FILES).iterdir()} == {
        "index.html", "page.js", "worker.js", "pixels.js", "style.css",
    }  # fmt: skip
