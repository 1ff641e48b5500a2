"""Same seed, same machine, same bytes; batch size, order and number of processes change no map beyond 1e-5."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from faults.killable import RECIPE, network, training
from safetensors.torch import load_file
from torch import Tensor

from maskwise import SESS
from maskwise.classifiers import Classifier
from maskwise.explainers import explainer
from maskwise.training import train

# Some of each family; those with draws of their own are marked.
METHODS = {
    "gradient": {}, "smooth_grad": {"samples": 4}, "integrated_gradients": {"steps": 4}, "grad_cam": {},
    "score_cam": {}, "rise": {"masks": 32}, "occlusion": {"stride": 1 / 7}, "lrp": {}, "random": {},
}  # fmt: skip
DRAWS = ("smooth_grad", "rise", "random")


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return network()


@pytest.mark.parametrize("sess", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_batch_size_and_order(name: str, sess: bool, classifier: Classifier, images: Tensor) -> None:
    images = torch.nn.functional.interpolate(images, 40) if sess else images
    made, targets = explainer(name, classifier, **METHODS[name]), torch.arange(6) % 8
    one = SESS(made, classifier, scales=2) if sess else made
    whole = one(images, targets)
    torch.manual_seed(1)
    assert torch.equal(one(images, targets), whole), "the same twice, wherever the global generator is"
    single = torch.cat([one(images[i : i + 1], targets[i : i + 1]) for i in range(6)])
    assert (single - whole).abs().max() <= 1e-5, "one by one"
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    assert (one(images[order], targets[order]) - whole[order]).abs().max() <= 1e-5, "in another order"
    if name in DRAWS:
        assert not torch.allclose(whole[0], whole[1]), "each picture has draws of its own"


def test_a_training_gives_the_same_bytes_twice(tmp_path: Path) -> None:
    for name in "ab":
        training(tmp_path / name)
    assert (tmp_path / "a" / "masker.safetensors").read_bytes() == (tmp_path / "b" / "masker.safetensors").read_bytes()
    other = train(
        RECIPE.model_copy(update={"seed": 4}), "shapes:n=12,size=40,seed=3,labels=own", classifier=network(),
        out=tmp_path / "c", device="cpu",
    )  # fmt: skip
    first, second = load_file(tmp_path / "a" / "masker.safetensors"), load_file(other)
    assert not torch.equal(first["decoder.head.weight"], second["decoder.head.weight"]), "another seed is another one"
