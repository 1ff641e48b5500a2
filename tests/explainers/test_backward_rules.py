"""Methods with backward rules of their own, against captum, closed forms, and other spellings of the same network."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from captum.attr import Deconvolution, GuidedBackprop
from conftest import tiny_net
from explainers.small_networks import IMAGES, RECTIFIED, RELEVANCE, Spelled, bare, seeded
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers import explainer
from maskwise.explainers.backward_rules import ReluRules
from maskwise.explainers.relevance import RelevanceRules
from maskwise.explainers.relevance.sums import Epsilon, Signed
from maskwise.explainers.targets import Targets


def discarded(x: Tensor) -> Tensor:
    F.relu(x, inplace=True)  # what it gives is thrown away, what it does stays
    return x


SPELLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "module": nn.ReLU(),
    "module in place": nn.ReLU(inplace=True),
    "functional": F.relu,
    "functional in place": lambda x: F.relu(x, inplace=True),
    "result discarded": discarded,
    "torch": torch.relu,
    "torch in place": torch.relu_,
    "method": lambda x: x.relu(),
    "method in place": lambda x: x.relu_(),
    "of a view": lambda x: x.flatten(1).relu_().view_as(x),
    "clamp": lambda x: x.clamp(min=0),
    "clamp by position": lambda x: torch.clamp(x, 0),
    "clamp_min": lambda x: x.clamp_min(0),
    "threshold": lambda x: F.threshold(x, 0, 0),
    "ReLU6": nn.ReLU6(),  # the values stay far below six
    "ReLU6 in place": nn.ReLU6(inplace=True),
    "functional ReLU6": F.relu6,
    "hardtanh": nn.Hardtanh(0, 6),
}


class TestSpellings:
    @pytest.mark.parametrize("spelling", SPELLINGS)
    @pytest.mark.parametrize("name", [*RECTIFIED, *RELEVANCE])
    def test_all_give_the_same_map(self, name: str, spelling: str) -> None:
        one, other = (bare(seeded(lambda relu=SPELLINGS[s]: Spelled(relu))) for s in ("module", spelling))  # type: ignore[misc]
        options = {"layer": "b"} if name in RELEVANCE[1:] else {}
        expected = explainer(name, one, **options)(IMAGES, 1)
        assert expected.std() > 1e-2
        assert torch.allclose(explainer(name, other, **options)(IMAGES, 1), expected, atol=1e-5)

    def test_an_alias_sees_what_happens_in_place(self) -> None:
        x = torch.randn(2, 3, 4, 4, requires_grad=True)
        for rules in (ReluRules(True), RelevanceRules(Epsilon(1e-6)), RelevanceRules(Signed())):
            base = x * 2
            part = base[:, 1]
            with rules:
                part.relu_()
                base += 1
            assert torch.allclose(part, (x * 2)[:, 1].relu() + 1)

    @pytest.mark.parametrize("name", RECTIFIED)
    def test_a_network_without_relu_is_named(self, name: str) -> None:
        classifier = bare(seeded(lambda: Spelled(F.gelu)), name="smooth")
        with pytest.raises(InputError, match=f"{name} .* smooth uses no ReLU .* use gradient"):
            explainer(name, classifier)(IMAGES)

    def test_the_mode_closes_when_the_network_raises(self) -> None:
        def fail(x: Tensor) -> Tensor:
            raise RuntimeError("broken")

        net = Spelled(F.relu)
        classifier = bare(net)
        net.spelled = fail
        for name in (*RECTIFIED, *RELEVANCE):
            with pytest.raises(RuntimeError, match="broken"):
                explainer(name, classifier)(IMAGES)
        x = torch.tensor([1.0], requires_grad=True)
        (plain,) = torch.autograd.grad(torch.relu(x), x, torch.tensor([-1.0]))
        assert plain == -1  # guided would give 0


class TestRectifiedGradients:
    @pytest.mark.parametrize(("name", "reference"), [("guided_backprop", GuidedBackprop), ("deconvnet", Deconvolution)])
    def test_captum(self, name: str, reference: type, recwarn: pytest.WarningsRecorder) -> None:
        net = tiny_net()
        expected = reference(net.eval()).attribute(IMAGES.clone().requires_grad_(), target=2).abs().amax(1)
        found = explainer(name, bare(net)).saliency(IMAGES, Targets(torch.full((2, 1), 2)))
        assert expected.std() > 0 and torch.allclose(found[:, 0], expected, atol=1e-6)

    def test_deconvnet_by_hand(self) -> None:
        conv = seeded(lambda: nn.Conv2d(3, 4, 3, bias=False))
        head = seeded(lambda: nn.Linear(4 * 14 * 14, 2), 1)
        net = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), head)
        found = explainer("deconvnet", bare(net, taps=["0"])).saliency(
            IMAGES, Targets(torch.ones(2, 1, dtype=torch.long))
        )
        passed = head.weight[1].reshape(1, 4, 14, 14).relu()  # of the top-down signal, not of the activations
        expected = F.conv_transpose2d(passed, conv.weight).abs().amax(1)  # type: ignore[arg-type]
        assert torch.allclose(found[:, 0], expected.expand(2, 16, 16), atol=1e-6)

    def test_relu6_is_shut_above_six(self) -> None:
        x = torch.tensor([-1.0, 3.0, 7.0], requires_grad=True)
        for local, expected in ((True, [0.0, 1.0, 0.0]), (False, [1.0, 1.0, 1.0])):
            with ReluRules(local):
                y = F.relu6(x)
            assert y.tolist() == [0, 3, 6]
            assert torch.autograd.grad(y.sum(), x)[0].tolist() == expected

    def test_other_clamps_are_left_alone(self) -> None:
        x = torch.tensor([-1.0, 3.0], requires_grad=True)
        with ReluRules(True) as rules:
            y = x.clamp(min=-2).clamp(max=9).clamp(torch.zeros(2))
            F.hardtanh(y)
        assert not rules.met and y.tolist() == [0, 3]

    def test_desalinet_with_switches_is_guided_backprop(self) -> None:
        classifier = bare(tiny_net())
        assert torch.equal(explainer("desalinet", classifier)(IMAGES), explainer("guided_backprop", classifier)(IMAGES))
        assert not torch.allclose(
            explainer("desalinet", classifier, pooling="centre")(IMAGES), explainer("desalinet", classifier)(IMAGES)
        )

    @pytest.mark.parametrize(
        ("pool", "centre"),
        [
            (lambda x: F.max_pool2d(x, 3), lambda i: 3 * i + 1),
            (lambda x: F.max_pool2d(x, 3, 2, 1), lambda i: 2 * i),
            (lambda x: F.max_pool2d(x, 2), lambda i: 2 * i),
            (lambda x: F.max_pool2d(x, 3, 1, dilation=2), lambda i: i + 2),
            (nn.MaxPool2d(4, ceil_mode=True), lambda i: min(4 * i + 1, 8)),
            (lambda x: F.max_pool2d(x, 3, return_indices=True)[0], lambda i: 3 * i + 1),
            (lambda x: F.adaptive_max_pool2d(x, 3), lambda i: 3 * i + 1),
        ],
    )
    def test_unpooling_to_the_centre(self, pool: Callable[[Tensor], Tensor], centre: Callable[[int], int]) -> None:
        x = torch.randn(2, 3, 9, 9, requires_grad=True)
        with ReluRules(True, explainer("desalinet", bare(tiny_net()), pooling="centre").handlers()):
            y = pool(x)
        assert torch.equal(y, pool(x))
        signal = torch.rand_like(y)
        (found,) = torch.autograd.grad(y, x, signal)
        expected = torch.zeros_like(x)
        for i in range(y.shape[2]):
            for j in range(y.shape[3]):
                expected[:, :, centre(i), centre(j)] += signal[:, :, i, j]
        assert torch.allclose(found, expected)

    def test_options(self) -> None:
        classifier = bare(tiny_net())
        for reduce in ("max", "sum", "positive"):
            assert explainer("guided_backprop", classifier, reduce=reduce)(IMAGES).std() > 1e-3
        with pytest.raises(InputError, match="reduce is"):
            explainer("deconvnet", classifier, reduce="mean")
        with pytest.raises(InputError, match="pooling is"):
            explainer("desalinet", classifier, pooling="mean")


def test_a_flat_answer_gives_zeros() -> None:
    net = tiny_net()
    with torch.no_grad():
        net[-1].weight.zero_(), net[-1].bias.zero_()  # type: ignore[index, operator, union-attr]
    for name in (*RECTIFIED, *RELEVANCE):
        assert (explainer(name, bare(net))(IMAGES) == 0).all()


@pytest.mark.parametrize("name", [*RECTIFIED, *RELEVANCE])
def test_several_goals_share_a_forward_and_bf16_works(name: str) -> None:
    classifier = bare(tiny_net())
    explain = explainer(name, classifier)
    explain(IMAGES[:1])  # the first picture of a classifier also tells whether its classes have gradients of their own
    calls: list[int] = []
    handle = classifier.module.register_forward_pre_hook(lambda *_: calls.append(1))
    several = explain(IMAGES, torch.tensor([[0, 2], [1, 3]]))
    assert len(calls) == 1
    handle.remove()
    assert torch.allclose(several[:, 1], explain(IMAGES, [2, 3]), atol=1e-5)
    half = explainer(name, classifier, precision="bf16")(IMAGES, [2, 3])
    assert (half - several[:, 1]).abs().mean() < 0.05


@pytest.mark.parametrize("source", ["mobilenet_v3_small", "densenet121", "test_vit", "convnext_atto", "vit_tiny"])
def test_real_architectures_at_small_size(source: str) -> None:
    """Inference mode, two pictures, every method: finite maps, or a word about the missing ReLU."""
    import timm
    import torchvision

    size = 160 if source == "test_vit" else 64

    def build() -> nn.Module:
        if hasattr(torchvision.models, source):
            return getattr(torchvision.models, source)(weights=None, num_classes=7)  # type: ignore[no-any-return]
        name = {"vit_tiny": "vit_tiny_patch16_224"}.get(source, source)
        options = {"img_size": size} if "vit" in source else {}
        return timm.create_model(name, pretrained=False, num_classes=7, **options)

    classifier = Classifier(seeded(build), input_size=size, name=source)
    for name in (*RECTIFIED, *RELEVANCE):
        with torch.inference_mode():
            if name in RECTIFIED and source not in ("mobilenet_v3_small", "densenet121"):
                with pytest.raises(InputError, match="no ReLU"):
                    explainer(name, classifier)(IMAGES)
                continue
            maps = explainer(name, classifier)(IMAGES)
        assert maps.isfinite().all() and maps.amax() <= 1
        if name in ("lrp", "excitation_backprop"):
            assert maps.std() > 1e-3, name
