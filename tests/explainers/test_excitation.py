"""Excitation backpropagation: two layers by hand, closed forms, and TorchRay's reading."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_net
from explainers.small_networks import IMAGES, RELEVANCE, Residual, Spelled, bare, relevance, seeded
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers import explainer
from maskwise.explainers.excitation import ExcitationBackprop, carries_all
from maskwise.explainers.relevance import RelevanceRules
from maskwise.explainers.relevance.sums import Signed
from maskwise.explainers.targets import Targets


def walk(p: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """One step of excitation backpropagation through a linear layer, written out."""
    x, weight = x.clamp(min=0), weight.clamp(min=0)
    z = x @ weight.T
    return x * (torch.where(z > 0, p / z.clamp(min=1e-300), 0) @ weight)


class TestExcitation:
    def test_what_comes_before_the_layer_goes_unrecorded_only_where_all_passes_through_it(self) -> None:
        """And the maps are then those of a walk that was recorded from the picture on."""
        classifier = bare(tiny_net())
        cut = explainer("excitation_backprop", classifier)
        assert isinstance(cut, ExcitationBackprop) and cut.cut
        found, whole = cut.saliency(IMAGES, Targets()), explainer("excitation_backprop", classifier)
        whole.cut = False  # type: ignore[attr-defined]
        assert torch.equal(found, whole.saliency(IMAGES, Targets())) and found.max() > 0

        class Around(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.stem, self.first, self.conv, self.act = (
                    nn.Conv2d(3, 4, 1),
                    nn.ReLU(),
                    nn.Conv2d(4, 4, 1),
                    nn.ReLU(),
                )
                self.head = nn.Linear(4, 3)

            def forward(self, x: Tensor) -> Tensor:
                x = self.first(self.stem(x))
                return self.head((x + self.act(self.conv(x))).mean((2, 3)))

        around = bare(seeded(Around), taps=["first"])
        assert carries_all(around, "first") and not carries_all(around, "act"), "the sum has another way around it"
        assert not carries_all(around, "stem"), "a batch norm after it would not be folded"
        around.train()
        assert carries_all(around, "first") and all(m.training for m in around.modules())

    def test_two_layers_by_hand(self) -> None:
        draws = torch.Generator().manual_seed(5)
        conv, head = nn.Conv2d(3, 4, 1).double(), nn.Linear(4 * 36, 3).double()
        with torch.no_grad():
            for p in (*conv.parameters(), *head.parameters()):
                p.copy_(torch.randn(p.shape, generator=draws, dtype=torch.float64))
        x = torch.rand(2, 3, 6, 6, generator=draws, dtype=torch.float64)
        hidden = conv(x).relu().flatten(1)
        one = torch.zeros(2, 3, dtype=torch.float64)
        one[:, 2] = 1
        p = walk(one, hidden, head.weight).reshape(2, 4, 36).transpose(1, 2)
        expected = walk(p, x.flatten(2).transpose(1, 2), conv.weight[:, :, 0, 0]).transpose(1, 2).reshape(2, 3, 6, 6)
        found, logit = relevance(nn.Sequential(conv, nn.ReLU(), nn.Flatten(), head), x, Signed(excitatory=True), 2)
        assert torch.allclose(found / logit[:, None, None, None], expected, atol=1e-12)

    def test_map_and_contrast_of_the_last_layer_in_closed_form(self) -> None:
        classifier = Classifier(tiny_net(), input_size=32)
        images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
        _, taps = classifier.features(images)
        hidden, weight = taps[-1].double(), classifier.module[-1].weight[3].double()  # type: ignore[index, union-attr]
        sides = []
        for w in (weight.clamp(min=0), (-weight).clamp(min=0)):
            visits = hidden * w[:, None, None]  # global average pooling shares in proportion
            sides.append(visits.sum(1) / visits.sum((1, 2, 3))[:, None, None])
        targets = Targets(torch.full((2, 1), 3))
        plain = explainer("excitation_backprop", classifier, layer="10").saliency(images, targets)[:, 0]
        contrast = explainer("contrastive_excitation_backprop", classifier, layer="10").saliency(images, targets)[:, 0]
        assert torch.allclose(plain.double(), sides[0], atol=1e-6)
        assert (contrast > 1e-4).any() and torch.allclose(contrast.double(), (sides[0] - sides[1]).relu(), atol=1e-6)
        option = explainer("excitation_backprop", classifier, layer="10", contrastive=True)
        assert torch.equal(option.saliency(images, targets)[:, 0], contrast)

    def test_probability_sums_to_one_at_every_layer(self) -> None:
        """With weights and pixels that are not negative, something excites every active unit."""
        net = seeded(lambda: Residual(gated=False))
        with torch.no_grad():
            for p in net.parameters():
                p.abs_()
        classifier = bare(net, taps=["stem"])
        # b's output becomes, in place, the sum of branch and skip connection; a holds the branch's share
        for layer in ("stem", "b", "a"):
            found = explainer("excitation_backprop", classifier, layer=layer).saliency(IMAGES, Targets())
            total = found.sum((1, 2, 3))
            assert ((total > 0.05) & (total < 0.99)).all() if layer == "a" else torch.allclose(total, torch.ones(2))
        found, logit = relevance(net, IMAGES, Signed(excitatory=True), 1)
        assert found.min() >= 0 and torch.allclose(found.sum((1, 2, 3)) / logit, torch.ones(2), atol=1e-5)

    def test_residual_addition_shares_by_positive_values(self) -> None:
        x = torch.tensor([[1.0, 2.0, -1.0]], dtype=torch.float64, requires_grad=True)
        other = torch.tensor([[3.0, -1.0, 4.0]], dtype=torch.float64, requires_grad=True)
        for add in (lambda a, b: a + b, lambda a, b: (a * 1).add_(b), torch.add):
            with RelevanceRules(Signed(excitatory=True)):
                y = add(x, other)
            a, b = torch.autograd.grad(y, (x, other), 1 / y.detach())  # P of one in each
            assert torch.allclose(a * x, torch.tensor([[0.25, 1, 0]], dtype=torch.float64))
            assert torch.allclose(b * other, torch.tensor([[0.75, 0, 1]], dtype=torch.float64))

    @pytest.mark.parametrize("method", RELEVANCE[1:])
    def test_torchrays_reading_walks_through_batch_norm_and_skips(self, method: str) -> None:
        """P by hand: through batch norm as it is; to the terms of an addition by their signed values."""

        class Block(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.stem, self.first = nn.Conv2d(3, 6, 1), nn.ReLU()
                self.a, self.bn_a = nn.Conv2d(6, 5, 1), nn.BatchNorm2d(5)
                self.b, self.bn_b = nn.Conv2d(5, 6, 1, bias=False), nn.BatchNorm2d(6)
                self.head = nn.Linear(6, 4)
                nn.init.normal_(self.head.weight)
                for bn in (self.bn_a, self.bn_b):
                    nn.init.uniform_(bn.weight, -0.7, 1.5), nn.init.normal_(bn.bias)
                    bn.running_mean.normal_(0.3, 0.3), bn.running_var.uniform_(0.05, 0.2)  # type: ignore[union-attr]

            def forward(self, x: Tensor) -> Tensor:
                x = self.first(self.stem(x))
                branch = self.bn_b(self.b(self.bn_a(self.a(x)).relu()))
                branch += x  # in place, as torchvision's residual networks add
                return self.head(branch.relu_().mean((2, 3)))

        net = seeded(Block)
        classifier = bare(net, taps=["first"])
        with torch.no_grad():
            net.bn_b.bias -= 0.8  # type: ignore[operator, union-attr]
        x = net.first(net.stem(IMAGES)).double().movedim(1, -1)  # (N,h,w,channels)
        double = deepcopy(net).double()
        between = double.bn_a(double.a(x.movedim(-1, 1))).relu()
        branch = double.bn_b(double.b(between)).movedim(1, -1)
        total = branch + x
        out, between = total.relu(), between.movedim(1, -1)
        assert (double.bn_a.weight < 0).any() and (branch < 0).any() and ((branch < 0) & (total > 0)).any()
        maps = []
        for weight in (double.head.weight, -double.head.weight):
            mean = out.mean((1, 2))
            one = torch.zeros(2, 4, dtype=torch.float64)
            one[:, 2] = 1
            p = walk(one, mean, weight)[:, None, None] * out / out.sum((1, 2), keepdim=True).clamp(min=1e-300)
            p = p * (total > 0)
            to_branch, to_skip = p * branch / total, p * x / total
            q = walk(to_branch, between, double.b.weight[:, :, 0, 0]) * (between > 0)
            maps.append((walk(q, x, double.a.weight[:, :, 0, 0]) + to_skip).sum(-1))
        expected = (maps[0] - maps[1]).relu() if "contrastive" in method else maps[0].relu()
        targets = Targets(torch.full((2, 1), 2))
        found = explainer(method, classifier, variant="torchray").saliency(IMAGES, targets)[:, 0]
        assert torch.allclose(found.double(), expected, atol=1e-6) and found.std() > 1e-4
        other = explainer(method, classifier).saliency(IMAGES, targets)[:, 0]
        assert not torch.allclose(found, other, atol=1e-4)
        assert torch.equal(other, explainer(method, classifier, variant="paper").saliency(IMAGES, targets)[:, 0])

    def test_torchrays_reading_is_the_papers_where_there_is_neither_batch_norm_nor_skip(self) -> None:
        classifier = bare(seeded(lambda: Spelled(F.relu)))
        vgg = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten())
        plain = bare(seeded(lambda: nn.Sequential(*vgg, nn.Linear(8 * 25, 4))), taps=["1"])
        paper, torchray = (
            explainer("excitation_backprop", plain, variant=v).saliency(IMAGES, Targets())
            for v in ("paper", "torchray")
        )
        assert paper.std() > 1e-4 and torch.allclose(paper, torchray, atol=1e-7)
        with pytest.raises(InputError, match="variant is paper or torchray"):
            explainer("excitation_backprop", classifier, variant="caffe")

    def test_sums_share_by_sign_only_in_torchrays_reading(self) -> None:
        x = torch.tensor([[1.0, 2.0, -1.0]], dtype=torch.float64, requires_grad=True)
        other = torch.tensor([[3.0, -1.0, 4.0]], dtype=torch.float64, requires_grad=True)
        for add in (lambda a, b: a + b, lambda a, b: (a * 1).add_(b), torch.add):
            with RelevanceRules(Signed(excitatory=True, signed=True)):
                y = add(x, other)
            a, b = torch.autograd.grad(y, (x, other), 1 / y.detach())  # P of one in each
            assert torch.allclose(a * x, torch.tensor([[1 / 4, 2, -1 / 3]], dtype=torch.float64))
            assert torch.allclose(b * other, torch.tensor([[3 / 4, -1, 4 / 3]], dtype=torch.float64))
        with RelevanceRules(Signed(excitatory=True, signed=True)):
            y = F.linear(x, torch.tensor([[1.0, 2.0, 1.0]], dtype=torch.float64))  # 1 + 4 - 1
        (a,) = torch.autograd.grad(y, x, 1 / y.detach())
        assert torch.allclose(a * x, torch.tensor([[1 / 4, 1, -1 / 4]], dtype=torch.float64))

    def test_a_score_function_starts_where_it_rises(self) -> None:
        classifier = bare(tiny_net())
        explain = explainer("excitation_backprop", classifier)
        assert torch.allclose(explain(IMAGES, lambda logits: 3 * logits[:, 1]), explain(IMAGES, 1), atol=1e-5)

    def test_layers(self) -> None:
        classifier = Classifier(tiny_net(), input_size=32)
        assert explainer("excitation_backprop", classifier).layer == classifier.tap_names[-2]  # type: ignore[attr-defined]
        single = Classifier(tiny_net(), input_size=32, taps=["10"])
        assert explainer("excitation_backprop", single).layer == "10"  # type: ignore[attr-defined]
        with pytest.raises(InputError, match="no layer 'x'"):
            explainer("excitation_backprop", classifier, layer="x")
        with pytest.raises(InputError, match="folded into the batch norm"):
            explainer("excitation_backprop", classifier, layer="4")(IMAGES)
        with pytest.raises(InputError, match="no spatial grid"):
            explainer("excitation_backprop", classifier, layer="12")(IMAGES)
