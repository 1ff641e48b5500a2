"""Out of memory: maps are made in halves, which changes none of them and is said; a training says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import tiny_net
from torch import Tensor, nn

from maskwise import SESS
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.portions import Portions, out_of_memory
from maskwise.evaluation import Contender, Settings
from maskwise.evaluation import measure as measure_rows
from maskwise.explain import explain_picture
from maskwise.explainers import explainer
from maskwise.measures import metric
from maskwise.training import Recipe, train

DATA = "shapes:n=7,size=48,seed=3,labels=own"


class Small(nn.Module):
    """A network on a device that takes so many pictures at once."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.inner, self.most = tiny_net(classes=8), most

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.most:
            raise torch.OutOfMemoryError(f"CUDA out of memory: {len(x)} pictures")
        out: Tensor = self.inner(x)
        return out


def judge(most: int) -> Classifier:
    return Classifier(Small(most), input_size=32, name="small")


def rows(most: int, method: str, batch: int = 7, measure: str = "area_std", **options: object) -> Tensor:
    classifier = judge(most)
    measures = {measure: metric(measure, classifier)}
    contender = Contender.of("it", explainer(method, classifier, **options))
    found = measure_rows([contender], classifier, [DATA], measures, Settings(batch=batch))
    return next(rows for key, rows in found.statistics.items() if key[2] == measure)


@pytest.mark.parametrize("method, options", [("gradient", {}), ("grad_cam", {}), ("rise", {"masks": 20, "batch": 7})])
def test_halves_give_the_same_rows(method: str, options: dict[str, object]) -> None:
    whole = rows(1000, method, **options)
    with pytest.warns(UserWarning, match="out of memory with 7 pictures at once: going on with 3"):
        assert torch.allclose(rows(3, method, **options), whole, atol=1e-5)


@pytest.mark.parametrize("measure", ["insertion", "deletion", "sm", "average_drop"])
def test_metrics_that_ask_the_classifier_halve_too(measure: str) -> None:
    whole = rows(1000, "center", measure=measure)
    with pytest.warns(UserWarning, match="out of memory with 8 pictures at once|out of memory with 7 pictures at once"):
        halves = rows(3, "center", measure=measure)
    assert torch.allclose(halves, whole, atol=1e-5, equal_nan=True) and bool(whole.isfinite().any())


def test_one_picture_is_made_smaller_inside_the_method() -> None:
    whole = rows(1000, "rise", masks=20, batch=16)
    with pytest.warns(UserWarning, match="2 forwards at once: going on with 1"):
        assert torch.allclose(rows(1, "rise", masks=20, batch=16), whole, atol=1e-5)


def test_one_picture_that_is_too_much() -> None:
    def work(part: slice) -> int:
        raise MemoryError

    with pytest.raises(InputError, match="out of memory with one picture at once"):
        Portions()(work, 1)


def test_explain_with_sess(tmp_path: Path) -> None:
    from PIL import Image

    pixels = torch.rand(70, 60, 3, generator=torch.Generator().manual_seed(0)).mul(255).byte().numpy()
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = []
    for most in (1000, 2):
        classifier = judge(most)
        sess = SESS(explainer("gradient", classifier), classifier, scales=3, batch=8)
        found.append(explain_picture(tmp_path / "a.png", sess, classifier, "gradient", None)[1].map)
    assert torch.allclose(*found, atol=1e-5)


def test_a_plain_function_is_not_cut() -> None:
    """Its maps may depend on their company."""

    def greedy(images: Tensor, targets: Tensor) -> Tensor:
        if len(images) > 3:
            raise torch.OutOfMemoryError
        return images.mean(1)

    classifier = judge(1000)
    measures = {"area_std": metric("area_std", classifier)}
    with pytest.raises(InputError, match="greedy: out of memory; .*`batch`"):
        measure_rows([Contender.of("greedy", greedy)], classifier, [DATA], measures, Settings(batch=7))
    measure_rows([Contender.of("greedy", greedy)], classifier, [DATA], measures, Settings(batch=3))


def test_training_says_what_to_do_and_changes_nothing(tmp_path: Path) -> None:
    recipe = Recipe(epochs=1, fraction=1.0, batch_size=4, input_size=32, thinning="F")
    with pytest.raises(InputError, match="at step 1 with 4 pictures at once: set `accumulate=2`"):
        train(recipe, DATA, classifier=judge(3), out=tmp_path / "run", device="cpu")


def test_sizes_that_failed_are_not_tried_again() -> None:
    tried: list[int] = []

    def work(part: slice) -> int:
        size = part.stop - part.start
        tried.append(size)
        if size > 2:
            raise MemoryError
        return size

    portions = Portions()
    with pytest.warns(UserWarning):
        assert portions(work, 9) == [2, 2, 2, 2, 1]
    assert tried == [9, 4, 2, 2, 2, 2, 1]
    tried.clear()
    assert sum(portions(work, 9)) == 9 and tried == [2, 2, 2, 2, 1]


def test_no_memory_for_a_file_is_no_damage_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is told to delete a checkpoint and begin anew would lose it for nothing."""
    from maskwise.convert.checkpoint import read_checkpoint
    from maskwise.core.weights import read_weights
    from maskwise.training.checkpoint import read_sealed, write_sealed

    write_sealed(tmp_path / "c.pt", {"weights": torch.zeros(3)})

    def full(*args: object, **options: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")

    monkeypatch.setattr(torch, "load", full)
    for read in (read_sealed, read_weights, read_checkpoint):
        with pytest.raises(RuntimeError, match="can't allocate memory"):
            read(tmp_path / "c.pt")  # type: ignore[operator]


def test_what_counts_as_out_of_memory() -> None:
    cpu = RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried …")
    assert all(map(out_of_memory, (torch.OutOfMemoryError(), MemoryError(), cpu)))
    with pytest.raises(RuntimeError) as beyond:
        torch.empty(2**62, 3)
    assert out_of_memory(beyond.value)
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        Portions()(lambda part: (_ for _ in ()).throw(RuntimeError("shapes")), 3)
