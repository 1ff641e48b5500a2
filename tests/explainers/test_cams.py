"""Class activation maps against other libraries, closed forms and plain loops."""

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_net
from torch import Tensor, nn
from torchcam.methods import GradCAM, LayerCAM

from maskwise.classifiers import Classifier
from maskwise.classifiers.class_activation import ClassActivation
from maskwise.core.blur import gaussian_blur
from maskwise.core.errors import InputError
from maskwise.core.min_max import min_max
from maskwise.explainers import explainer

LAYER = "10"  # ReLU of the tiny network's coarsest scale
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def classifier() -> Classifier:
    net = tiny_net()
    return Classifier(net, mean=(0, 0, 0), std=(1, 1, 1), input_size=32, name="tiny")


def bilinear(maps: Tensor) -> Tensor:
    return F.interpolate(maps[:, None], (32, 32), mode="bilinear", align_corners=False)[:, 0]


def forwards(classifier: Classifier) -> tuple[Tensor, Tensor]:
    """Logits and the layer's activation, of the trunk and the head run apart."""
    activation = classifier.module[:11](IMAGES)  # type: ignore[index]
    return classifier.module[11:](activation), activation  # type: ignore[index]


@pytest.mark.parametrize(("name", "rival"), [("grad_cam", GradCAM), ("layer_cam", LayerCAM)])
def test_gradient_cams_equal_torchcam(name: str, rival: type, classifier: Classifier) -> None:
    module = tiny_net().eval()
    ours = explainer(name, classifier, layer=LAYER)(IMAGES, 3)
    with rival(module, LAYER) as cam:
        theirs = cam([3, 3], module(IMAGES))[0]
    assert theirs.std() > 0 and torch.allclose(ours, bilinear(theirs.detach()), atol=1e-3)


def test_grad_cam_pp_equals_a_loop_over_positions() -> None:
    """Eq. 19 of Chattopadhay et al., written out, on a head whose gradient differs from place to place."""
    trunk = nn.Sequential(nn.Conv2d(3, 3, 3, 2, 1), nn.ReLU())
    head = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16, 4))
    classifier = Classifier(nn.Sequential(trunk, head), mean=(0, 0, 0), std=(1, 1, 1), input_size=8, taps=["0"])
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    held = trunk(images).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(head(held)[:, 2].sum(), held)
    maps = torch.zeros(2, 4, 4)
    for n in range(2):
        for k in range(3):
            weight, total = 0.0, held[n, k].sum().item()
            for g in gradient[n, k].flatten().tolist():
                below = 2 * g**2 + total * g**3
                weight += (g**2 / below if below else 0.0) * max(g, 0.0)
            maps[n] += weight * held[n, k].detach()
    expected = F.interpolate(min_max(maps.relu())[:, None], (8, 8), mode="bilinear")[:, 0]
    assert expected.std() > 0
    assert torch.allclose(explainer("grad_cam_pp", classifier)(images, 2), expected, atol=1e-4)


def sharp(scale: float = 300.0) -> Classifier:
    """The tiny network with answers that differ much, so that weights do; its channels 2 and 5 are flat."""
    net = tiny_net().eval()
    with torch.no_grad():
        net[-1].weight *= scale  # type: ignore[index, operator, union-attr]
        net[9].weight[[2, 5]] = 0  # type: ignore[index, union-attr]
        net[9].bias[[2, 5]] = torch.tensor([0.7, 0.0])  # type: ignore[index, union-attr]
        net[-1].bias -= net(IMAGES / 2).mean(0)  # type: ignore[index, operator, union-attr]
    return Classifier(net, mean=(0, 0, 0), std=(1, 1, 1), input_size=32, name="sharp")


@pytest.mark.parametrize("variant", ["released", "paper"])
@pytest.mark.parametrize("layer", ["9", LAYER])  # with negative values, and without
def test_score_cam_equals_a_loop_over_channels(variant: str, layer: str) -> None:
    """Wang et al.'s Algorithm 1, its baseline written out; the released code takes probabilities as they are."""
    classifier = sharp()
    activation = classifier.module[: int(layer) + 1](IMAGES)  # type: ignore[index]
    nothing = classifier.module(torch.zeros(1, 3, 32, 32))[0, 3]
    expected = torch.zeros(2, 32, 32)
    for n in range(2):
        scores, larges, flat = [], [], []
        for k in range(activation.shape[1]):
            if activation[n, k].max() == activation[n, k].min():
                flat.append(k)
                continue
            large = bilinear(activation[n, k][None])
            mask = (large - large.min()) / (large.max() - large.min())
            logits = classifier.module((IMAGES[n] * mask)[None])[0]
            scores.append(logits.softmax(0)[3] if variant == "released" else logits[3] - nothing)
            larges.append(large[0])
        weights = torch.stack(scores)
        if variant == "paper":
            weights = weights.exp() / weights.exp().sum()
        assert {2, 5} <= set(flat) and weights.std() > 0.005
        expected[n] = torch.einsum("k,khw->hw", weights, torch.stack(larges)).detach()
    expected = min_max(expected.relu())
    for batch in (1, 5, 64):
        maps = explainer("score_cam", classifier, layer=layer, variant=variant, batch=batch)(IMAGES, 3)
        assert torch.allclose(maps, expected, atol=1e-4)
    with pytest.raises(InputError, match="variant is released or paper"):
        explainer("score_cam", classifier, variant="logit")


def test_masks_reach_both_ends_and_flat_maps_show_nothing() -> None:
    """A peak of one cell among 7x7 keeps 0.969 where it is stretched before it is enlarged."""

    class Ends(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x.amax((1, 2, 3)), x.amin((1, 2, 3))], 1)

    net = nn.Sequential(nn.Identity(), Ends())
    explain = explainer(
        "score_cam", Classifier(net, mean=(0, 0, 0), std=(1, 1, 1), input_size=224, taps=["0"]), batch=64
    )
    maps = torch.linspace(0.3, 2.7, 20)[None, :, None, None].repeat(1, 1, 7, 7)
    maps[0, 0, 3, 3] = 50.0
    maps = maps.contiguous(memory_format=torch.channels_last)  # as layers give them
    assert F.interpolate(min_max(maps), (224, 224), mode="bilinear").amax() < 0.97
    large = F.interpolate(maps, (299, 299), mode="bilinear")[0, 1:]
    assert min_max(large).amax() == 1, "enlarged, what is flat need not be flat to the last bit"
    for side in (224, 299):
        white = torch.ones(1, 3, side, side)
        ends = explain.masked_scores(white, maps, 0.0, lambda logits, _: logits)[0]  # type: ignore[attr-defined]
        assert ends[0].tolist() == [1, 0] and not ends[1:].any()


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_group_cam_equals_a_loop_over_groups(variant: str) -> None:
    classifier = sharp()
    _, activation = forwards(classifier)
    held = activation.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(classifier.module[11:](held)[:, 3].sum(), held)  # type: ignore[index]
    blurred = gaussian_blur(IMAGES, 50.0, "mirror", reach=25)
    terms = gradient.mean((2, 3), keepdim=True) * activation.detach()
    expected = torch.zeros(2, 32, 32)
    for n in range(2):
        base = classifier.module(blurred[n][None]).softmax(1)[0, 3]
        for g in range(4):
            group = terms[n, 4 * g : 4 * g + 4].sum(0).relu()
            if variant == "paper":
                group = torch.where(group >= group.flatten().quantile(0.7), group, 0)
            large = bilinear(group[None])[0]
            if large.max() == large.min():
                continue
            mask = (large - large.min()) / (large.max() - large.min())
            mixed = IMAGES[n] * mask + blurred[n] * (1 - mask)
            score = (classifier.module(mixed[None]).softmax(1)[0, 3] - base).detach()
            expected[n] += score * mask if variant == "paper" else score.relu() * large
    expected = min_max(expected.relu())
    maps = explainer("group_cam", classifier, layer=LAYER, groups=4, variant=variant, batch=3)(IMAGES, 3)
    assert expected.std() > 0 and torch.allclose(maps, expected, atol=1e-3)


def test_cam_is_the_last_weights_on_the_last_activation(classifier: Classifier) -> None:
    _, activation = forwards(classifier)
    cam = torch.einsum("nchw,c->nhw", activation, classifier.module[-1].weight[3])  # type: ignore[index]
    assert torch.allclose(explainer("cam", classifier)(IMAGES, 3), bilinear(min_max(cam.detach())), atol=1e-5)


def test_cam_says_where_it_does_not_exist() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)
    )
    hidden = nn.Sequential(
        nn.Conv2d(3, 5, 3, 2, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 5),
        nn.ReLU(),
        nn.Linear(5, 5),
    )
    for module in (net, hidden):
        with pytest.raises(InputError, match="use grad_cam"):
            explainer("cam", Classifier(module, input_size=16))(torch.rand(1, 3, 16, 16))
    with pytest.raises(InputError, match="score function"):
        explainer("cam", Classifier(tiny_net(), input_size=32))(IMAGES, lambda logits: logits[:, 0])


def test_smooth_grad_cam_pp_without_noise_is_grad_cam_pp(classifier: Classifier) -> None:
    still = explainer("smooth_grad_cam_pp", classifier, noise=0, samples=3)(IMAGES, 1)
    assert torch.allclose(still, explainer("grad_cam_pp", classifier)(IMAGES, 1), atol=1e-5)


def test_smooth_grad_cam_pp_averages_derivatives_not_maps(classifier: Classifier) -> None:
    """Against the formula, on the noise that the method draws."""
    from maskwise.explainers.perturb import generators, normal

    image = IMAGES[:1]
    draws = generators(image, 0)
    sigma = 0.3 * (image.max() - image.min())
    ones, twos, threes = [], [], []
    for _ in range(4):
        held = classifier.module[:11](image + sigma * normal(draws, 3, 32, 32)).detach().requires_grad_()  # type: ignore[index]
        (g,) = torch.autograd.grad(classifier.module[11:](held)[0, 1], held)  # type: ignore[index]
        ones.append(g)
        twos.append(g**2)
        threes.append(g**3)
    one, two, three = (sum(x) / 4 for x in (ones, twos, threes))
    activation = classifier.module[:11](image)  # type: ignore[index]
    below = 2 * two + three * activation.sum((2, 3), keepdim=True)
    weights = (torch.where(below == 0, 0, two / below).nan_to_num() * one.relu()).sum((2, 3), keepdim=True)
    expected = bilinear(min_max((weights * activation).sum(1).relu().detach()))
    got = explainer("smooth_grad_cam_pp", classifier, noise=0.3, samples=4, batch=3)(image, 1)
    assert torch.allclose(got, expected, atol=1e-4)


def test_augmented_grad_cam_of_the_picture_alone_is_grad_cam(classifier: Classifier) -> None:
    alone = explainer("augmented_grad_cam", classifier, copies=1, iterations=0)(IMAGES, 2)
    assert torch.allclose(alone, min_max(explainer("grad_cam", classifier)(IMAGES, 2)), atol=1e-5)


def test_augmented_grad_cam_turns_back_what_it_turned(classifier: Classifier) -> None:
    from maskwise.explainers.augmented_grad_cam import _turn

    explain = explainer("augmented_grad_cam", classifier, copies=5, angle=0.3, shift=0.05)
    there, back = explain._turns(IMAGES)  # type: ignore[attr-defined]
    smooth = gaussian_blur(IMAGES, 4.0, "mirror", reach=7)[:, None].expand(-1, 5, -1, -1, -1)
    again = _turn(_turn(smooth, there), back)
    assert torch.allclose(again[..., 8:-8, 8:-8], smooth[..., 8:-8, 8:-8], atol=0.02)
    assert not torch.allclose(_turn(smooth, there)[:, 1:], smooth[:, 1:], atol=0.02)


def test_augmented_grad_cam_lowers_its_own_objective(classifier: Classifier) -> None:
    explain = explainer("augmented_grad_cam", classifier, copies=4, iterations=0)
    sharper = explainer("augmented_grad_cam", classifier, copies=4, iterations=60)
    there, _ = explain._turns(IMAGES)  # type: ignore[attr-defined]
    assert there.shape == (2, 4, 2, 3)
    assert not torch.allclose(explain(IMAGES, 2), sharper(IMAGES, 2), atol=1e-3)


def headed(pool: nn.Module, weight: float = 1.0, bias: float = 0.0) -> Classifier:
    net = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), pool, nn.Flatten(), nn.Linear(6, 4))
    with torch.no_grad():
        net[-1].weight *= weight  # type: ignore[operator]
        net[-1].bias += bias  # type: ignore[operator]
    return Classifier(net, mean=(0, 0, 0), std=(1, 1, 1), input_size=32)


@pytest.mark.parametrize(("weight", "bias"), [(1.0, 0.0), (1e-6, 0.0), (1e6, 0.0), (1.0, 100.0), (1e-3, 10.0)])
def test_cam_knows_its_head_at_any_size_of_logits(weight: float, bias: float) -> None:
    torch.manual_seed(0)
    assert explainer("cam", headed(nn.AdaptiveAvgPool2d(1), weight, bias))(IMAGES, 1).amax() > 0.9
    with pytest.raises(InputError, match="average pooling"):
        explainer("cam", headed(nn.AdaptiveMaxPool2d(1), weight, bias))(IMAGES, 1)


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_cam_knows_its_head_in_other_number_formats(kind: torch.dtype) -> None:
    classifier = Classifier(tiny_net().to(kind), input_size=32)
    assert explainer("cam", classifier)(IMAGES, 1).amax() > 0.9
    wrong = headed(nn.AdaptiveMaxPool2d(1))
    with pytest.raises(InputError, match="average pooling"):
        explainer("cam", Classifier(wrong.module.to(kind), input_size=32))(IMAGES, 1)


def scored_by_place(pool: nn.Module, *behind: nn.Module) -> Classifier:
    """As SqueezeNet ends: a 1x1 convolution gives the classes at each place, and pooling is last."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 4, 1), *behind, pool, nn.Flatten())
    with torch.no_grad():
        net[2].bias.fill_(0.3)  # type: ignore[operator, union-attr]  # so that no class is silenced by a ReLU
    return Classifier(net, mean=(0, 0, 0), std=(1, 1, 1), input_size=32)


@pytest.mark.parametrize("behind", [[], [nn.ReLU()]])
def test_cam_where_classes_are_scored_at_each_place_is_the_class_s_own_channel(behind: list[nn.Module]) -> None:
    classifier = scored_by_place(nn.AdaptiveAvgPool2d(1), *behind)
    layer = str(1 + len(behind) + 1)
    targets = torch.tensor([[2, 0], [1, 3]])
    with torch.no_grad():
        places = classifier.module[: int(layer) + 1](IMAGES)  # type: ignore[index]
    wanted = min_max(torch.stack([places[i, row] for i, row in enumerate(targets)]))
    cam = explainer("cam", classifier, layer=layer)
    assert torch.allclose(cam(IMAGES, targets), cam.upsample(wanted, (32, 32)), atol=1e-6)
    with pytest.raises(InputError, match="average pooling"):
        explainer("cam", scored_by_place(nn.AdaptiveMaxPool2d(1), *behind), layer=layer)(IMAGES, 1)


def test_cam_of_squeezenet_is_grad_cam() -> None:
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    net = torchvision.models.squeezenet1_1(weights=None, num_classes=7)
    with torch.no_grad():
        net.classifier[1].bias.fill_(0.5)
    classifier = Classifier(net, input_size=64)
    images = torch.rand(2, 3, 64, 64)
    cam = explainer("cam", classifier)(images, [[2, 5], [2, 5]])
    assert cam.amax((2, 3)).min() > 0.9 and not torch.allclose(cam[:, 0], cam[:, 1], atol=0.1)
    assert torch.allclose(cam, explainer("grad_cam", classifier)(images, [[2, 5], [2, 5]]), atol=1e-5)


def test_a_picture_s_head_is_checked_by_its_own_size() -> None:
    """A bright picture beside it does not excuse one whose map's mean is 5% off."""
    head = ClassActivation(headed(nn.AdaptiveAvgPool2d(1)))
    draws = torch.Generator().manual_seed(0)
    activation = torch.rand(2, 6, 5, 5, generator=draws) * torch.tensor([1e4, 1.0])[:, None, None, None]
    logits = head.head(activation.mean((2, 3))).detach()
    classes = torch.tensor([[0, 1], [2, 3]])
    assert head.explains(activation, logits, classes)
    off = logits.clone()
    off[1] += 0.05 * (logits[1] - head.head.bias)
    assert not head.explains(activation, off, classes)


def test_what_rounding_may_do_to_a_head_goes_by_its_number_format() -> None:
    """Terms of one size whose sum cancels: bfloat16 keeps 8 bits of each, and their sum may be off by that much."""
    classifier = headed(nn.AdaptiveAvgPool2d(1))
    with torch.no_grad():
        classifier.module[-1].weight[:] = torch.tensor([1.0, -1, 1, -1, 1, -1])  # type: ignore[index, operator, union-attr]
        classifier.module[-1].bias.zero_()  # type: ignore[index, operator, union-attr]
    activation, classes = torch.ones(1, 6, 4, 4), torch.tensor([[0]])
    off = torch.full((1, 4), 6 * 2.0**-8)  # the terms add up to 6, and cancel
    assert not ClassActivation(classifier).explains(activation, off, classes)
    classifier.module.bfloat16()
    assert ClassActivation(classifier).explains(activation, off, classes)
    assert not ClassActivation(classifier).explains(activation, 10 * off, classes)
