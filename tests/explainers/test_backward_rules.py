"""Methods with backward rules of their own, against captum, closed forms, and other spellings of the same network."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from captum.attr import LRP, Deconvolution, GuidedBackprop
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule
from conftest import tiny_net
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers import explainer
from maskwise.explainers.backward_rules import ReluRules
from maskwise.explainers.excitation import ExcitationBackprop, carries_all
from maskwise.explainers.relevance import RelevanceRules
from maskwise.explainers.relevance.sums import Epsilon, Signed
from maskwise.explainers.targets import Targets

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(3))
RECTIFIED = ("guided_backprop", "deconvnet", "desalinet")
RELEVANCE = ("lrp", "excitation_backprop", "contrastive_excitation_backprop")


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build().eval()


def bare(net: nn.Module, size: int = 16, **options: object) -> Classifier:
    """A classifier that takes pixels as they are."""
    if isinstance(net, Spelled):
        options["taps"] = ["a", "b"]  # as functions its ReLUs are no layers
    return Classifier(net, mean=(0, 0, 0), std=(1, 1, 1), input_size=size, **options)  # type: ignore[arg-type]


class Spelled(nn.Module):
    """conv - ReLU - pool - conv - ReLU - linear, with ReLU spelled as given."""

    def __init__(self, relu: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)
        self.spelled = relu

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.spelled(self.a(x)), 2)
        return self.head(self.spelled(self.b(x)).mean((2, 3)))


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


class Residual(nn.Module):
    """Bias-free: stem, a residual block written in place, pooling, a concatenation, a gate, and a linear layer."""

    def __init__(self, gated: bool = True) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.a, self.b = (nn.Conv2d(6, 6, 3, padding=1, bias=False) for _ in range(2))
        self.squeeze = nn.Conv2d(6, 6, 1)
        self.scale = nn.Parameter(torch.rand(6, 1, 1) + 0.5)
        self.head = nn.Linear(12, 3, bias=False)
        self.gated = gated

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.stem(x), inplace=True), 2)
        out = self.b(F.relu(self.a(x)))
        out += x
        x = F.relu_(out)
        if self.gated:
            x = x * torch.sigmoid(self.squeeze(x.mean((2, 3), keepdim=True))) * self.scale
        x = F.silu(x)
        x = torch.cat([F.adaptive_avg_pool2d(x, 1), F.adaptive_max_pool2d(x, 1)], 1)
        return self.head(torch.flatten(x, 1))


def relevance(net: Callable[[Tensor], Tensor], x: Tensor, rule: Epsilon | Signed, target: int) -> tuple[Tensor, Tensor]:
    """R of x and the target's logit."""
    x = x.clone().requires_grad_()
    with RelevanceRules(rule):
        logits = net(x)
    (signal,) = torch.autograd.grad(logits[:, target].sum(), x)
    return x.detach() * signal, logits[:, target].detach()


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
            explainer("lrp", classifier, alpha=1)
        with torch.no_grad():
            classifier.module[-1].bias.fill_(torch.nan)  # type: ignore[index, operator, union-attr]
        for name in RELEVANCE:
            with pytest.raises(InputError, match="NaN"):
                explainer(name, classifier)(IMAGES)


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
