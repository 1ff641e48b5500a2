"""Max-sensitivity and ARCC of explainers whose values are known, and by loops."""

from pathlib import Path

import numpy as np
import pytest
import torch
from captum.metrics import sensitivity_max
from conftest import tiny_net
from torch import Tensor

from maskwise.checks import arcc, f_fidelity, max_sensitivity
from maskwise.checks.again_figure import BETTER, again_figure
from maskwise.checks.arcc import coherency_of, harmonic_mean
from maskwise.checks.explained_again import AgainResult, AgainRow
from maskwise.checks.intervals import MeanInterval
from maskwise.checks.tables import again_table
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.keyed import keyed_generator
from maskwise.measures import metric

SIDE = 24
DRAWS = torch.Generator().manual_seed(4)
IMAGES = torch.rand(5, 3, SIDE, SIDE, generator=DRAWS)
CLASSIFIER = Classifier(tiny_net(), input_size=SIDE, name="tiny")


def brightness(images: Tensor, targets: Tensor | None = None) -> Tensor:
    return images.mean(1)


def constant(images: Tensor, targets: Tensor | None = None) -> Tensor:
    return torch.linspace(0, 1, SIDE).expand(len(images), SIDE, SIDE)


def zeros(images: Tensor, targets: Tensor | None = None) -> Tensor:
    return torch.zeros(len(images), SIDE, SIDE)


def test_max_sensitivity_equals_the_loop_and_is_0_of_a_map_that_never_changes() -> None:
    methods = {"brightness": brightness, "constant": constant, "zeros": zeros}
    result = max_sensitivity(methods, CLASSIFIER, IMAGES, radius=0.05, samples=4, seed=3, batch=2)
    for image, found in zip(IMAGES, result.values["brightness", "max_sensitivity"].tolist(), strict=True):
        draws, farthest = keyed_generator(image, 3), 0.0
        for _ in range(4):
            moved = (image + 0.05 * (2 * torch.rand(image.shape, generator=draws) - 1)).clamp(0, 1)
            farthest = max(farthest, float((moved.mean(0) - image.mean(0)).norm() / image.mean(0).norm()))
        assert found == pytest.approx(farthest, rel=1e-5)
    assert result.values["constant", "max_sensitivity"].tolist() == [0] * 5
    rows = {row.method: row.value for row in result.rows}
    assert list(rows) == list(methods) and rows["zeros"].undefined == 5 and np.isnan(rows["zeros"].mean)
    assert 0 < rows["brightness"].low <= rows["brightness"].mean <= rows["brightness"].high
    more = max_sensitivity({"b": brightness}, CLASSIFIER, IMAGES, radius=0.05, samples=8, seed=3)
    assert (more.values["b", "max_sensitivity"] >= result.values["brightness", "max_sensitivity"] - 1e-9).all()
    assert again_table(result).row_count == 3 and result.plain()["protocol"]["radius"] == 0.05


def test_the_parts_of_arcc_are_what_they_say() -> None:
    result = arcc({"b": brightness, "constant": constant}, CLASSIFIER, IMAGES, batch=2)
    found = {score: result.values["b", score] for score in ("arcc", "coherency", "complexity", "road")}
    maps = IMAGES.mean(1)
    kept = IMAGES * maps[:, None] + CLASSIFIER.mean[:, None, None] * (1 - maps[:, None])
    for m, again, coherency in zip(maps, kept.mean(1), found["coherency"].tolist(), strict=True):
        pearson = np.corrcoef(m.double().flatten(), again.double().flatten())[0, 1]
        assert coherency == pytest.approx((pearson + 1) / 2, abs=1e-6)
    assert torch.allclose(found["complexity"], maps.double().mean((1, 2)))
    road = metric("road", CLASSIFIER, percent="20,40,60,80")
    rows = road.per_image(maps, images=IMAGES)
    combined = torch.stack([road.value(row, torch.tensor(1.0)) for row in rows]) / 100
    assert torch.allclose(found["road"], (2 * combined).clamp(0, 1), atol=1e-6)
    for i in range(5):
        parts = [float(found["coherency"][i]), 1 - float(found["complexity"][i]), float(found["road"][i])]
        expected = 0.0 if min(parts) == 0 else 3 / sum(1 / part for part in parts)
        assert float(found["arcc"][i]) == pytest.approx(expected, abs=1e-9)
    assert torch.allclose(result.values["constant", "coherency"], torch.ones(5).double())


def test_a_flat_map_has_no_coherency_and_so_no_arcc() -> None:
    result = arcc({"zeros": zeros}, CLASSIFIER, IMAGES[:2])
    assert result.values["zeros", "coherency"].tolist() == result.values["zeros", "arcc"].tolist() == [0, 0]
    assert coherency_of(IMAGES[:, 0], 1 - IMAGES[:, 0]).tolist() == pytest.approx([0] * 5, abs=1e-12)
    assert harmonic_mean(torch.tensor([2.0, 0]), torch.tensor([1.0, 1])).tolist() == pytest.approx([4 / 3, 0])


def test_what_makes_no_sense_is_refused() -> None:
    for wrong in ({"radius": 0}, {"samples": 0}, {"seed": -1}):
        with pytest.raises(InputError):
            max_sensitivity({"b": brightness}, CLASSIFIER, IMAGES, **wrong)
    with pytest.raises(InputError, match="needs a method and a picture"):
        arcc({}, CLASSIFIER, IMAGES)
    with pytest.raises(InputError, match="unknown infiller 'noisy'"):
        arcc({"b": brightness}, CLASSIFIER, IMAGES, fill="noisy")


@pytest.mark.parametrize(("scale", "offset"), [(2.0, 0.0), (1.0, -0.5), (40.0, -20.0)])
def test_maps_beyond_the_unit_range_have_no_complexity(scale: float, offset: float) -> None:
    """Signed values gave a complexity below 0, and with it an ARCC that means nothing."""

    def beyond(images: Tensor, targets: Tensor | None = None) -> Tensor:
        return scale * images.mean(1) + offset

    with pytest.raises(InputError, match=r"arcc takes maps in \[0,1\].*these lie in \[.*stretch them"):
        arcc({"beyond": beyond}, CLASSIFIER, IMAGES)
    assert len(max_sensitivity({"beyond": beyond}, CLASSIFIER, IMAGES, samples=1).rows) == 1, "a change of any values"


def of_class(images: Tensor, targets: Tensor | None = None) -> Tensor:
    """One channel of the picture: the last, and of class 0 the first."""
    assert targets is not None
    return images[torch.arange(len(images)), 2 * (targets > 0).long()]


def test_changed_pictures_are_explained_for_the_class_of_the_whole_one() -> None:
    images = torch.rand(4, 3, SIDE, SIDE, generator=DRAWS)
    several = (Classifier(tiny_net(seed=seed), input_size=SIDE, name="tiny") for seed in range(20))
    judge = next(one for one in several if (one.logits(images).argmax(1) > 0).all())
    classes = judge.logits(images).argmax(1)
    sensitive = max_sensitivity({"m": of_class}, judge, images, radius=0.05, samples=1, seed=2)
    noise = torch.stack([torch.rand(image.shape, generator=keyed_generator(image, 2)) for image in images])
    moved = (images + 0.05 * (2 * noise - 1)).clamp(0, 1)
    maps = of_class(images, classes)
    expected = (of_class(moved, classes) - maps).flatten(1).norm(dim=1) / maps.flatten(1).norm(dim=1)
    assert torch.allclose(sensitive.values["m", "max_sensitivity"], expected.double(), rtol=1e-5)
    kept = images * maps[:, None] + judge.mean[:, None, None] * (1 - maps[:, None])
    coherent = arcc({"m": of_class}, judge, images).values["m", "coherency"]
    assert torch.allclose(coherent, coherency_of(maps, of_class(kept, classes)), atol=1e-6)


def test_max_sensitivity_is_captum_s_given_the_same_noise() -> None:
    draws = [keyed_generator(image, 7) for image in IMAGES]
    noise = torch.stack([torch.stack([torch.rand(IMAGES.shape[1:], generator=g) for _ in range(6)]) for g in draws])

    def moved(pictures: Tensor, radius: float) -> Tensor:
        """Pictures repeated one after another, as captum gives them."""
        return (pictures + radius * (2 * noise.flatten(0, 1) - 1)).clamp(0, 1)

    def explained(pictures: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (brightness(pictures if isinstance(pictures, Tensor) else pictures[0]),)

    expected = sensitivity_max(
        explained, IMAGES, moved, perturb_radius=0.04, n_perturb_samples=6, max_examples_per_batch=10**6
    )
    found = max_sensitivity({"b": brightness}, CLASSIFIER, IMAGES, radius=0.04, samples=6, seed=7)
    assert found.values["b", "max_sensitivity"].tolist() == pytest.approx(expected.tolist(), rel=1e-4)


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ([(-0.2, -0.3, -0.1), (0.4, 0.3, 0.5)], (-0.3, 0.5)),
        ([(-0.2, -0.3, -0.1)], (-0.3, 0.0)),
        ([(0.4, 0.3, 0.5), (torch.nan, torch.nan, torch.nan)], (0.0, 0.5)),
        ([(torch.nan, torch.nan, torch.nan)], (0.0, 1.0)),
    ],
)
def test_the_figure_shows_what_lies_below_0(
    values: list[tuple[float, float, float]], ends: tuple[float, float], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Its axes began at 0: a method of which F-Fidelity says less than nothing had no mark at all."""
    drawn = []
    monkeypatch.setattr("maskwise.checks.again_figure.save_figure", lambda figure, *_: drawn.append(figure))
    rows = [AgainRow(f"m{i}", "f_fidelity", MeanInterval(*one, 0)) for i, one in enumerate(values)]
    again_figure(AgainResult(rows, {}, {"pictures": 3, "classifier": "tiny"}), tmp_path / "plot.png")
    low, high = drawn[0].axes[0].get_xlim()
    assert low <= ends[0] and ends[1] <= high and high - low <= 1.2 * (ends[1] - ends[0])
    assert drawn[0].axes[0].get_title() == "f_fidelity: higher is better"


def test_of_every_score_the_figure_knows_which_way_is_better() -> None:
    """MPRT's and ROAR's figures say it, and these said nothing: of ARCC's four scores one is the better the lower."""
    images = IMAGES[:2]
    made = (
        arcc({"b": brightness}, CLASSIFIER, images),
        max_sensitivity({"b": brightness}, CLASSIFIER, images, samples=1),
        f_fidelity({"b": brightness}, CLASSIFIER, images, images, judge=CLASSIFIER, draws=1, percent=(50,)),
    )
    assert {row.score for one in made for row in one.rows} | {"focus"} == set(BETTER)
    assert [score for score, side in BETTER.items() if side == "lower"] == [
        "complexity",
        "ffid_minus",
        "max_sensitivity",
    ]
