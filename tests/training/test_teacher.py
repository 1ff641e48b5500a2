"""A teacher: what methods say of whole pictures, at several scales, behind a gate; and the file that keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_net
from scipy.ndimage import gaussian_filter1d
from taught import classifier, pictures
from torch import Tensor

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.images import to_bytes
from maskwise.training import recipes
from maskwise.training.label_file import LabelFile, label_pictures, picture_key
from maskwise.training.teacher import Lesson, Teacher, TeacherView


def stretched(saliency: np.ndarray) -> np.ndarray:
    return (saliency - saliency.min()) / (saliency.max() - saliency.min())


def test_the_mean_of_scales_methods_and_mirrors_by_hand() -> None:
    own, images, classes = classifier(), pictures(), [1, 4, 0]
    views = {"cam": TeacherView(scales=(32, 48)), "grad_cam": TeacherView(options={"layer": "10"}, scales=(32,))}
    taught = Teacher(own, Lesson(views=views, smooth=4, mirrored=True, grid=16))(images, classes)
    for picture, label, found in zip(images, classes, taught, strict=True):
        total = np.zeros((16, 16))
        for name, options, scale in (("cam", {}, 32), ("cam", {}, 48), ("grad_cam", {"layer": "10"}, 32)):
            squashed = F.interpolate(picture[None], (scale, scale), mode="bilinear", antialias=True).clamp(0, 1)
            at_scale = Classifier(tiny_net(), input_size=scale)
            for turned in (squashed, squashed.flip(-1)):
                explain = mw.explainer(name, at_scale, **options)
                with torch.no_grad():
                    native, _ = explain.low_resolution(turned, mw.explainers.targets.parse_targets(label, 1, own))
                enlarged = F.interpolate(native, (16, 16), mode="bilinear")[0, 0]
                total += (enlarged.flip(-1) if turned is not squashed else enlarged).numpy()
        smooth = gaussian_filter1d(gaussian_filter1d(total / 6, 2, 0, mode="nearest"), 2, 1, mode="nearest")
        np.testing.assert_allclose(found.numpy(), stretched(smooth), atol=2e-3)


def test_a_gate_leaves_what_speaks_for_the_class() -> None:
    """Weights of the last layer times the last activation by hand, stretched, open from half of its peak."""
    own, images, classes = classifier(), pictures(), [1, 4, 0]
    lesson = Lesson(views={"cam": TeacherView(scales=(48,))}, grid=16)
    plain = Teacher(own, lesson)(images, classes)
    gated = Teacher(own, lesson.model_copy(update={"class_gate": 0.5}))(images, classes)
    net = tiny_net()
    head = [m for m in net.modules() if isinstance(m, torch.nn.Linear)][-1]
    for picture, label, without, found in zip(images, classes, plain, gated, strict=True):
        squashed = F.interpolate(picture[None], (32, 32), mode="bilinear", antialias=True).clamp(0, 1)
        with torch.no_grad():
            last = own.features(squashed)[1][-1][0]
        activation = (head.weight[label].detach()[:, None, None] * last).sum(0)
        activation = (activation - activation.min()) / (activation.max() - activation.min())
        large = F.interpolate(activation[None, None], (32, 32), mode="bilinear")
        gate = F.interpolate((large / 0.5).clamp(0, 1), (16, 16), mode="bilinear", antialias=True)[0, 0]
        torch.testing.assert_close(found, without * gate, atol=1e-4, rtol=0)
        assert (found - without).abs().max() > 0.1


def test_who_can_not_teach() -> None:
    headless = torch.nn.Sequential(tiny_net(), torch.nn.ReLU(), torch.nn.Linear(5, 5))
    with pytest.raises(InputError, match=r"class_gate needs a network that ends in average pooling"):
        Teacher(Classifier(headless, input_size=32), Lesson(views={"gradient": TeacherView()}, class_gate=0.3))
    with pytest.raises(InputError, match="no option"):
        Teacher(classifier(), Lesson(views={"cam": TeacherView(options={"x": 1})}))
    with pytest.raises(InputError, match="is no method"):
        recipes.load("distilled_lite0", ["teacher.views={nothing: {}}"])
    with pytest.raises(InputError, match="class_tap"):
        recipes.load("distilled_lite0", ["decoder=added"])


# ---- its file -----------------------------------------------------------------------------------------------


def test_maps_are_made_once_and_again_where_picture_class_or_teacher_changed(tmp_path: Path) -> None:
    images = pictures()
    taught: list[int] = []

    def teach(some: Sequence[Tensor], classes: Sequence[Sequence[int]]) -> Tensor:
        taught.extend(c for several in classes for c in several)
        return torch.stack(
            [
                torch.stack([torch.full((4, 4), float(image.mean()) + c) for c in several])
                for image, several in zip(some, classes, strict=True)
            ]
        )

    def run(key: str = "a", labels: Sequence[int] = (0, 1, 2)) -> dict[int, Tensor]:
        taught.clear()
        own = LabelFile(tmp_path / "labels.npz")
        found = label_pictures(own, key, lambda i: (to_bytes(images[i]), (labels[i],)), teach, range(3), batch=2)
        assert all(several.shape == (1, 4, 4) for several in found.values())
        return {place: several[0] for place, several in found.items()}

    first = run()
    assert taught == [0, 1, 2] and all((first[i] - float(images[i].mean()) - i).abs().max() < 4e-3 for i in range(3))
    again = run()
    assert taught == [] and all(torch.equal(first[i], again[i]) for i in range(3))
    images[1] = images[1].clone()
    images[1][2, 5, 7] += 3 / 255
    run()
    assert taught == [1], "a picture with one other pixel"
    run(labels=(0, 1, 4))
    assert taught == [4]
    run("b")
    assert taught == [0, 1, 2]
    run()
    assert taught == [], "maps of other teachers stay in the file"
    taught.clear()
    own = LabelFile(tmp_path / "labels.npz")
    both = label_pictures(own, "a", lambda i: (to_bytes(images[i]), (0, 3)), teach, [0], batch=2)[0]
    assert taught == [0, 3] and torch.equal(both[0], first[0]) and (both[1] - both[0] - 3).abs().max() < 4e-3
    (tmp_path / "labels.npz").write_bytes(b"rubbish")
    with pytest.raises(InputError, match="delete it"):
        run()


def test_a_teacher_s_key_tells_all_that_matters() -> None:
    def key(seed: int = 0, **settings: object) -> str:
        lesson = {"views": {"cam": TeacherView()}, **settings}
        return Teacher(Classifier(tiny_net(seed), input_size=32), Lesson.model_validate(lesson)).key()

    others = [
        key(seed=1), key(smooth=1.0), key(class_gate=0.3), key(mirrored=True), key(grid=28),
        key(views={"cam": TeacherView(scales=(32, 48))}),
        key(views={"grad_cam": TeacherView()}), key(views={"grad_cam": TeacherView(options={"layer": "10"})}),
    ]  # fmt: skip
    assert key() == key() and len({key(), *others}) == 9
    by_excitation = Lesson.model_validate({"views": {"excitation_backprop": TeacherView()}})
    networks = [
        Classifier(tiny_net(), input_size=32), Classifier(tiny_net(), input_size=(32, 16)),
        Classifier(tiny_net(), input_size=(16, 32)), Classifier(tiny_net(), input_size=32, taps=["2", "6", "10"]),
        Classifier(tiny_net(), input_size=32, taps=["2", "10"]),
    ]  # fmt: skip
    teachers = [Teacher(network, by_excitation) for network in networks]
    maps = [teacher(pictures()[:1], [1]) for teacher in teachers]
    assert not torch.equal(maps[0], maps[1]) and not torch.equal(maps[3], maps[4]), "or they could share a key"
    assert len({teacher.key() for teacher in teachers}) == 5, "the shape of its pictures, and the layers that are read"
    image = to_bytes(pictures()[0])
    assert len({picture_key("a", image, 0), picture_key("a", image, 1), picture_key("b", image, 0)}) == 3
