"""What softmax and sigmoid outputs say of labels, against loops over pictures and findings in plain numbers."""

import math

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_net
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.training.likelihood import Bernoulli, Categorical, likelihood_of
from maskwise.training.objectives import Judged, Term, Total

B, K = 7, 14


def answers(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits (B,K), double, and sets of findings (B,K), the first of them empty."""
    draws = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(B, K, generator=draws, dtype=torch.float64)
    findings = torch.rand(B, K, generator=draws) < 0.2
    findings[0] = False
    return logits, findings


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def rows(logits: Tensor, findings: Tensor) -> list[list[tuple[float, bool]]]:
    """(p, t) of each finding of each picture."""
    return [
        [(sigmoid(z), t) for z, t in zip(zs, ts, strict=True)]
        for zs, ts in zip(logits.tolist(), findings.tolist(), strict=True)
    ]


def test_probabilities_of_findings_are_what_their_logits_are() -> None:
    """A black box gives p where a network gives log p - log (1 - p); certain answers have finite losses."""
    logits, findings = answers()
    other = answers(1)[0]
    said, plain = Bernoulli(of_probabilities=True), Bernoulli()
    for ask in ("cross_entropy", "cross_entropy_of_shown", "entropy"):
        torch.testing.assert_close(
            getattr(said, ask)(logits.sigmoid(), findings), getattr(plain, ask)(logits, findings)
        )
    for ask in ("right", "shows"):
        assert torch.equal(getattr(said, ask)(logits.sigmoid(), findings), getattr(plain, ask)(logits, findings)), ask
    assert torch.equal(said.found(logits.sigmoid()), plain.found(logits))
    assert torch.equal(said.likelier(logits.sigmoid()), logits.sigmoid() > 0.5)
    assert torch.equal(said.differs(logits.sigmoid(), other.sigmoid()), plain.differs(logits, other))
    expected = F.binary_cross_entropy(logits.sigmoid(), findings.double(), reduction="none").sum(1).mean()
    torch.testing.assert_close(said.cross_entropy(logits.sigmoid(), findings), expected)
    assert said.cross_entropy(findings.double(), ~findings).isfinite()
    with pytest.raises(InputError, match="probabilities from 0 to 1, and the classifier gives other numbers"):
        said.right(logits, findings)


def test_binary_cross_entropy_is_minus_the_log_probability_of_the_set() -> None:
    logits, findings = answers()
    chance = [math.prod(p if t else 1 - p for p, t in row) for row in rows(logits, findings)]
    expected = -sum(map(math.log, chance)) / B
    assert Bernoulli().cross_entropy(logits, findings).item() == pytest.approx(expected, abs=1e-12)
    shown = -sum(math.log(p) for row in rows(logits, findings) for p, t in row if t) / B
    assert Bernoulli().cross_entropy_of_shown(logits, findings).item() == pytest.approx(shown, abs=1e-12)


def test_entropy_is_the_sum_of_binary_entropies_of_what_is_there() -> None:
    logits, findings = answers()
    expected = [
        sum(-p * math.log(p) - (1 - p) * math.log(1 - p) for p, t in row if t) for row in rows(logits, findings)
    ]
    assert Bernoulli().entropy(logits, findings).tolist() == pytest.approx(expected, abs=1e-12)
    assert expected[0] == 0 and max(expected) > 1
    everything = torch.ones(2, K, dtype=torch.bool)
    assert Bernoulli().entropy(torch.zeros(2, K), everything).tolist() == pytest.approx([K * math.log(2)] * 2)


def test_gradients_are_those_of_the_formulas() -> None:
    """d BCE = p - t, d -log p = -(1 - p) t, d entropy = -z p (1 - p) t; each over B where it is a mean."""
    logits, findings = answers()
    p, t = logits.sigmoid(), findings.double()
    given = logits.clone().requires_grad_()
    likelihood = Bernoulli()
    for value, expected in (
        (likelihood.cross_entropy(given, findings), (p - t) / B),
        (likelihood.cross_entropy_of_shown(given, findings), (p - 1) * t / B),
        (likelihood.entropy(given, findings).sum(), -logits * p * (1 - p) * t),
    ):
        (found,) = torch.autograd.grad(value, given)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)


def test_what_an_answer_names() -> None:
    """The top class; of findings those that are likelier than one in ten, with nothing found in a picture of none."""
    logits = torch.tensor([[-2.19, 3.0, -2.2], [-5.0, -4.0, -3.0]])  # log(1/9) is -2.197
    assert Bernoulli().found(logits).tolist() == [[True, True, False], [False, False, False]]
    assert Categorical().found(logits).tolist() == [1, 2]


def test_far_logits_and_half_precision_stay_finite() -> None:
    far = torch.tensor([[200.0, -200.0]], requires_grad=True)
    wrong = torch.tensor([[False, True]])
    assert Bernoulli().cross_entropy(far, wrong).item() == 400
    assert Bernoulli().cross_entropy_of_shown(far, wrong).item() == 200
    entropy = Bernoulli().entropy(far, torch.ones(1, 2, dtype=torch.bool))
    assert entropy.tolist() == [0]
    (slope,) = torch.autograd.grad(entropy.sum(), far)
    assert slope.isfinite().all()
    half = answers()[0].bfloat16()
    assert Bernoulli().entropy(half, answers()[1]).dtype == torch.float32


def test_right_and_shown_by_hand() -> None:
    """Findings 0 and 2 are there."""
    labels = torch.tensor([[True, False, True]]).repeat(4, 1)
    logits = torch.tensor([[1.0, -1, 1], [1, -1, -1], [1, 1, 1], [-1, 1, -1]])
    likelihood = Bernoulli()
    assert likelihood.right(logits, labels).tolist() == [True, False, False, False]
    assert likelihood.shows(logits, labels).tolist() == [True, True, True, False]
    nothing = torch.zeros_like(labels)
    assert likelihood.right(torch.tensor([[-1.0, -1, -1], [1, -1, -1]]), nothing[:2]).tolist() == [True, False]
    assert not likelihood.shows(logits, nothing).any()
    assert likelihood.differs(logits, logits[:1]).tolist() == [False, True, True, True]


def test_one_output_is_a_binary_answer() -> None:
    """Logits (-z, z) of a network with one output: cross entropy and entropy are the binary ones of z."""
    z = torch.linspace(-4, 4, 9, dtype=torch.float64)
    labels = torch.arange(9) % 2
    pairs, likelihood = torch.stack([-z, z], 1), Categorical(0.5)
    expected = F.binary_cross_entropy_with_logits(z, labels.double())
    torch.testing.assert_close(likelihood.cross_entropy(pairs, labels), expected, rtol=1e-12, atol=0)
    p = z.sigmoid()
    binary = -p * p.log() - (1 - p) * (1 - p).log()
    torch.testing.assert_close(likelihood.entropy(pairs, labels), binary, rtol=1e-12, atol=0)
    torch.testing.assert_close(likelihood.scaled(pairs).softmax(1)[:, 1], p, rtol=1e-12, atol=0)
    assert torch.equal(likelihood.right(pairs, labels), (z > 0) == labels.bool())


def test_softmax_is_what_torch_has_to_the_bit() -> None:
    logits, labels = answers()[0].float(), torch.arange(B)
    likelihood = Categorical()
    assert likelihood.scaled(logits) is logits
    for loss in (likelihood.cross_entropy, likelihood.cross_entropy_of_shown):
        assert torch.equal(loss(logits, labels), F.cross_entropy(logits, labels))
    log_p = logits.log_softmax(1)
    assert torch.equal(likelihood.entropy(logits, labels), -(log_p.exp() * log_p).sum(1))


def net(classes: int) -> nn.Module:
    return tiny_net(classes=classes)


def test_the_activation_chooses() -> None:
    def chosen(classes: int, **said: str) -> object:
        return likelihood_of(Classifier(net(classes), input_size=32, **said))  # type: ignore[arg-type]

    assert chosen(5) == Categorical() and isinstance(chosen(5, activation="sigmoid"), Bernoulli)
    assert chosen(1) == Categorical(0.5), "one output is two classes"
    with pytest.raises(InputError, match=r"need logits, .*activation none.*recipe distilled"):
        chosen(5, activation="none")


def judged(seed: int) -> Judged:
    clean, findings = answers(seed)
    # Clean answers are right in every other picture, so that the entropy of some counts.
    clean[::2] = torch.where(findings[::2], 1.0, -1.0).double()
    inside, outside = answers(seed + 10)[0], answers(seed + 20)[0]
    inside[1] = torch.where(findings[1], 2.0, -2.0).double()
    outside[2:4] = -outside[2:4].abs()
    masks = torch.rand(B, 5, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Judged(clean, {"in": inside, "out": outside}, findings, masks, Bernoulli())


@pytest.mark.parametrize("name", ["max_class", "min_class", "max_entropy"])
@pytest.mark.parametrize("when", ["fooled", "wrong", "changed"])
@pytest.mark.parametrize("seed", range(3))
def test_objectives_of_findings_equal_the_loop(name: str, when: str, seed: int) -> None:
    """Masked in, the findings and no others; masked out, none of them."""
    j, term, total = judged(seed), Term(weight=0.7, lambda_r=3.5), 0.0
    for clean, inside, outside, mask in zip(
        rows(j.clean, j.labels), rows(j.masked["in"], j.labels), rows(j.masked["out"], j.labels), j.masks, strict=True
    ):
        right = all((p > 0.5) == t for p, t in clean)
        gone = not any(p > 0.5 for p, t in outside if t)
        changed = any((p > 0.5) != (q > 0.5) for (p, _), (q, _) in zip(clean, outside, strict=True))
        shrinks = {"fooled": right and gone, "wrong": gone, "changed": changed}[when]
        if name == "max_class":
            loss = -sum(math.log(p if t else 1 - p) for p, t in inside)
            shrinks = all((p > 0.5) == t for p, t in inside)
        elif name == "min_class":
            loss = sum(math.log(p) for p, t in outside if t)
        else:
            loss = right * sum(p * math.log(p) + (1 - p) * math.log(1 - p) for p, t in outside if t)
        total += 0.7 * loss + shrinks * 3.5 * (float(mask.mean()) - 1)
    found = Total({name: term}, when)(j)  # type: ignore[arg-type]
    assert found.item() == pytest.approx(total / B, abs=1e-12)
