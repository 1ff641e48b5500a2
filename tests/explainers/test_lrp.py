"""Layer-wise relevance propagation: against captum, by hand, and what it keeps."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from captum.attr import LRP
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule
from conftest import tiny_net
from explainers.small_networks import IMAGES, RELEVANCE, Residual, bare, relevance, seeded
from torch import Tensor, nn

from maskwise.core.errors import InputError
from maskwise.explainers import explainer
from maskwise.explainers.relevance import RelevanceRules
from maskwise.explainers.relevance.sums import Epsilon, Signed
from maskwise.explainers.targets import Targets


class TestLrp:
    @pytest.mark.parametrize("epsilon", [1e-9, 0.1])
    def test_captum_epsilon(self, epsilon: float) -> None:
        def layers() -> list[nn.Module]:
            return [nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten()]

        net = seeded(lambda: nn.Sequential(*layers(), nn.Linear(8 * 25, 10), nn.ReLU(), nn.Linear(10, 4))).eval()
        found = explainer("lrp", bare(net), epsilon=epsilon, relative=False)
        maps = found.relevances(IMAGES, Targets(torch.full((2, 1), 3)))[:, 0]  # type: ignore[attr-defined]
        for module in net:
            if not isinstance(module, nn.ReLU):
                module.rule = EpsilonRule(1e-30 if isinstance(module, nn.Flatten) else epsilon)  # type: ignore[assignment]
        expected = LRP(net).attribute(IMAGES.clone().requires_grad_(), target=3)
        assert expected.std() > 0 and torch.allclose(maps, expected, atol=1e-5 * float(expected.detach().abs().max()))

    def test_captum_z_plus(self) -> None:
        def layers() -> list[nn.Module]:
            return [nn.Conv2d(3, 6, 3, bias=False), nn.ReLU(), nn.Conv2d(6, 8, 3, bias=False), nn.ReLU(), nn.Flatten()]

        net = seeded(lambda: nn.Sequential(*layers(), nn.Linear(8 * 144, 4, bias=False))).eval()
        logits = bare(net).logits(IMAGES)
        target = torch.ones(2, dtype=torch.long)
        found = explainer("lrp", bare(net), rule="z_plus").relevances(IMAGES, Targets(target[:, None]))[:, 0]  # type: ignore[attr-defined]
        for module in net:
            if not isinstance(module, nn.ReLU):
                module.rule = Alpha1_Beta0_Rule()  # type: ignore[assignment]
        # captum starts from the logit, here its size counts
        expected = LRP(net).attribute(IMAGES.clone().requires_grad_(), target=target)
        expected = expected * logits[:, 1].sign()[:, None, None, None]
        assert torch.allclose(found, expected, atol=1e-4 * float(expected.detach().max()))

    @pytest.mark.parametrize("rule", [Epsilon(1e-12), Signed(2, 1), Signed()])
    @pytest.mark.parametrize("gated", [False, True])
    def test_relevance_is_conserved(self, rule: Epsilon | Signed, gated: bool) -> None:
        net = seeded(lambda: Residual(gated)).double()
        x = torch.randn(4, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        for target in range(3):
            found, logit = relevance(net, x, rule, target)
            assert torch.allclose(found.sum((1, 2, 3)), logit, rtol=1e-6, atol=1e-9)

    def test_alpha_beta_by_hand(self) -> None:
        x = torch.tensor([[1.0, -2.0, 3.0]], dtype=torch.float64)
        layer = nn.Linear(3, 2).double()
        with torch.no_grad():
            layer.weight.copy_(torch.tensor([[2.0, 1.0, -1.0], [1.0, -1.0, 1.0]]))
            layer.bias.copy_(torch.tensor([0.5, -1.0]))
        # unit 0: z+ = 2 + .5, z- = -2 - 3, y = -2.5
        found, logit = relevance(layer, x, Signed(2, 1), 0)
        expected = logit * torch.tensor([2 * 2 / 2.5, -1 * -2 / -5, -1 * -3 / -5], dtype=torch.float64)
        assert torch.allclose(found, expected)
        # unit 1: z+ = 1 + 2 + 3, and the bias alone against it
        found, logit = relevance(layer, x, Signed(2, 1), 1)
        assert torch.allclose(found, 2 * logit * torch.tensor([1, 2, 3], dtype=torch.float64) / 6)

    @pytest.mark.parametrize("rule", [Epsilon(0.1), Signed(2, 1), Signed(), Signed(excitatory=True)])
    @pytest.mark.parametrize("in_place", [False, True])
    def test_batch_norm_is_folded(self, rule: Epsilon | Signed, in_place: bool) -> None:
        conv = seeded(lambda: nn.Conv2d(3, 5, 3)).double()
        norm = nn.BatchNorm2d(5).double().eval()
        with torch.no_grad():
            for values in (norm.weight, norm.bias, norm.running_mean):
                values.copy_(torch.randn(5, generator=torch.Generator().manual_seed(7)))  # type: ignore[union-attr]
        tail = nn.Sequential(nn.ReLU(in_place), nn.Flatten(), seeded(lambda: nn.Linear(500, 2)).double())
        fused = torch.nn.utils.fuse_conv_bn_eval(conv.eval(), norm)
        x = torch.randn(2, 3, 12, 12, dtype=torch.float64)
        found, _ = relevance(nn.Sequential(conv, norm, tail), x, rule, 1)
        expected, _ = relevance(nn.Sequential(fused, tail), x, rule, 1)
        assert torch.allclose(found, expected)

    def test_epsilon_of_relu_networks_is_input_times_gradient(self) -> None:
        classifier = bare(tiny_net())
        x = IMAGES.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(classifier.logits(x)[:, 1].sum(), x)
        found = explainer("lrp", classifier, epsilon=1e-9).relevances(IMAGES, Targets(torch.ones(2, 1).long()))[:, 0]  # type: ignore[attr-defined]
        assert torch.allclose(found, gradient * IMAGES, atol=1e-5)

    def test_gates_get_nothing_and_equal_factors_half(self) -> None:
        x = torch.randn(2, 4, 3, 3, dtype=torch.float64)
        pairs = {
            "broadcast": lambda x: x * x.mean((2, 3), keepdim=True).exp(),
            "sigmoid": lambda x: torch.sigmoid(x) * x,
            "expanded": lambda x: x * x.mean((2, 3)).sigmoid()[:, :, None, None].expand_as(x),
            "views of a gate": lambda x: x * x.mean((2, 3)).sigmoid().view(2, 4, 1, 1).expand_as(x),
            "hardswish by hand": lambda x: x * (F.relu6(x + 3) / 6),
            "hardswish, divided last": lambda x: x * F.relu6(x + 3) / 6,
            "square": lambda x: x * x,
            "divided": lambda x: x / x.square().sum((1, 2, 3), keepdim=True),
            "in place": lambda x: (x * 1).mul_(x.sigmoid()),
        }
        for name, product in pairs.items():
            for rule in (Epsilon(1e-12), Signed(2, 1)):
                found, value = relevance(lambda x, f=product: f(x).flatten(1), x, rule, 5)  # type: ignore[misc]
                assert torch.allclose(found.flatten(1).sum(1), value, rtol=1e-5), name
                assert (found.flatten(1) != 0).sum(1).tolist() == [1, 1], name

    def test_attention_is_a_weighted_sum_of_values(self) -> None:
        attention = seeded(lambda: nn.MultiheadAttention(8, 2, bias=False, batch_first=True)).double().eval()
        x = torch.randn(2, 5, 8, dtype=torch.float64)

        def by_hand(x: Tensor) -> Tensor:
            q, k, v = F.linear(x, attention.in_proj_weight).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
            weights = (q @ k.transpose(-2, -1) / 2).softmax(-1)
            return F.linear((weights @ v).transpose(1, 2).flatten(2), attention.out_proj.weight).flatten(1)

        def fused(x: Tensor) -> Tensor:
            q, k, v = F.linear(x, attention.in_proj_weight).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
            seen = F.scaled_dot_product_attention(q, k, v)
            return F.linear(seen.transpose(1, 2).flatten(2), attention.out_proj.weight).flatten(1)

        def modular(x: Tensor) -> Tensor:
            return attention(x, x, x, need_weights=False)[0].flatten(1)

        plain = modular(x)
        for rule in (Epsilon(1e-12), Signed(2, 1), Signed(excitatory=True)):
            one, value = relevance(by_hand, x, rule, 3)
            assert torch.allclose(value, plain[:, 3])
            for same in (modular, fused):
                other, logit = relevance(same, x, rule, 3)
                assert torch.allclose(one, other) and torch.allclose(value, logit)
            if not (isinstance(rule, Signed) and rule.excitatory):
                assert torch.allclose(one.sum((1, 2)), value)

    @pytest.mark.parametrize(
        "norm", [nn.LayerNorm([6, 6]), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.RMSNorm(6), nn.BatchNorm2d(4)]
    )
    def test_normalisers_keep_values_and_relevance(self, norm: nn.Module) -> None:
        norm = norm.double().eval()
        x = torch.randn(2, 4, 6, 6, dtype=torch.float64) + 1
        for rule in (Epsilon(1e-12), Signed(2, 1)):
            found, value = relevance(lambda x: norm(x).flatten(1), x, rule, 9)
            assert torch.allclose(value, norm(x).flatten(1)[:, 9])
            assert torch.allclose(found.sum((1, 2, 3)), value)

    def test_values_do_not_change(self) -> None:
        net = seeded(Residual).eval()
        x = torch.randn(2, 3, 12, 12, requires_grad=True)
        for rule in (Epsilon(0.1), Signed(2, 1), Signed(excitatory=True)):
            with RelevanceRules(rule):
                assert torch.allclose(net(x), net(x.detach()), atol=1e-6)

    @pytest.mark.filterwarnings("ignore:.torch.jit.trace")
    def test_a_network_of_softmax_and_one_out_of_sight_are_named(self) -> None:
        def net() -> nn.Module:
            return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

        scripted = torch.jit.trace(seeded(net), IMAGES)
        for hidden in (nn.Sequential(*seeded(net), nn.Softmax(1), nn.Linear(3, 3)), scripted):
            with pytest.raises(InputError, match=r"lrp finds no way .*\(no softmax"):
                explainer("lrp", bare(hidden, taps=["0"]))(IMAGES)

    def test_options_and_nan(self) -> None:
        classifier = bare(tiny_net())
        for rule in ("alpha_beta", "z_plus"):
            assert explainer("lrp", classifier, rule=rule)(IMAGES).std() > 1e-3
        with pytest.raises(InputError, match="rule is"):
            explainer("lrp", classifier, rule="gamma")
        with pytest.raises(InputError, match="epsilon must"):
            explainer("lrp", classifier, epsilon=0)
        with pytest.raises(InputError, match="alpha - beta"):
            explainer("lrp", classifier, rule="alpha_beta", alpha=1)
        with torch.no_grad():
            classifier.module[-1].bias.fill_(torch.nan)  # type: ignore[index, operator, union-attr]
        for name in RELEVANCE:
            with pytest.raises(InputError, match="NaN"):
                explainer(name, classifier)(IMAGES)
