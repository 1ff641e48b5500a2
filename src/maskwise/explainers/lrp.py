"""Layer-wise relevance propagation: the target's logit shared out among the pixels."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.option_types import OnlyWith
from maskwise.core.options import one_of
from maskwise.explainers.base import Explainer, methods, recording
from maskwise.explainers.relevance import run, slopes
from maskwise.explainers.relevance.sums import Epsilon, Signed
from maskwise.explainers.targets import Targets


@methods.register(
    "lrp",
    family="gradients",
    paper="Bach et al. 2015",
    needs_gradients=True,
    needs_target=True,
    random=False,
    caution="LRP is called patented by AttnLRP's authors, and free for personal and scientific use only",
    cost="1 forward, 1 backward (alpha_beta, z_plus: 5 forwards, 4 backwards)",
)
class Lrp(Explainer):
    """Positive part of the sum over colours of R, the relevance of the normalised picture x (Bach et al. 2015).

    R of the logits is the target's logit and zero elsewhere; each layer hands it on by one rule, and what no rule
    gives to a bias or to epsilon arrives at the pixels: sum R = logit in a network without biases, as epsilon -> 0.
    ``relevance.py`` says how batch norm, gates, normalisers and attention are treated. All of it runs in float32,
    whatever ``precision`` says, since relevance divides by activations.

    Args:
        classifier: what is explained.
        rule: "epsilon": R_i = sum_j x_i w_ij R_j / (z_j + epsilon sign z_j) (Eq. 58); in a network of ReLUs it tends to
            input times gradient as epsilon -> 0. "alpha_beta": alpha of the positive contributions' shares minus beta
            of the negative ones' (Eq. 60). "z_plus": alpha = 1, beta = 0 (Montavon et al. 2017). The latter two start
            from |logit|, so that what speaks for the target is positive even where its logit is not. They are made for
            ReLU networks: in transformers alpha_beta's two parts grow from layer to layer.
        epsilon: above zero; more of it gives less noise (Montavon et al. 2019 take 0.25 in middle layers). Of
            "epsilon" only.
        relative: epsilon counts in root mean squares of each layer's output, so that it suits every layer and network;
            without it in the paper's absolute units. Of "epsilon" only.
        softmax: of attention. "constant": relevance goes to values alone, as Achtibat et al. do for ViTs, too.
            "gradient": by the softmax's gradient to queries and keys as well (AttnLRP, Achtibat et al. 2024). Of
            "epsilon" only.
        alpha, beta: alpha - beta = 1, beta >= 0; of "alpha_beta" only.

    Caution: the authors of AttnLRP call LRP patented, and free for personal and scientific use only. Ask a lawyer
    before commercial use.

    Raises:
        InputError: options that do not fit; at the first picture, a network whose layers cannot be seen.
    """

    only_with: ClassVar[OnlyWith] = {
        "epsilon": {"rule": ("epsilon",)}, "relative": {"rule": ("epsilon",)}, "softmax": {"rule": ("epsilon",)},
        "alpha": {"rule": ("alpha_beta",)}, "beta": {"rule": ("alpha_beta",)},
    }  # fmt: skip

    def __init__(
        self,
        classifier: Classifier,
        rule: Literal["epsilon", "alpha_beta", "z_plus"] = "epsilon",
        epsilon: float = 0.01,
        relative: bool = True,
        alpha: float = 2.0,
        beta: float = 1.0,
        softmax: Literal["constant", "gradient"] = "constant",
    ) -> None:
        super().__init__(classifier)
        if rule not in ("epsilon", "alpha_beta", "z_plus"):
            raise InputError(f"rule is epsilon, alpha_beta or z_plus, not {rule!r}")
        if not epsilon > 0:
            raise InputError(f"epsilon must be above zero, not {epsilon}")
        if beta < 0 or abs(alpha - beta - 1) > 1e-6:
            raise InputError(f"alpha - beta must be 1 and beta at least 0, not alpha {alpha} and beta {beta}")
        one_of("softmax", softmax, ("constant", "gradient"))
        self.rule: Epsilon | Signed = Epsilon(epsilon, relative, softmax == "gradient")
        if rule != "epsilon":
            self.rule = Signed(alpha, beta) if rule == "alpha_beta" else Signed()

    def saliency(self, images: Tensor, targets: Targets) -> Tensor:
        return self.relevances(images, targets).sum(2).relu()

    def relevances(self, images: Tensor, targets: Targets) -> Tensor:
        """R (N,K,3,H,W) of the normalised pictures' values, with its sign."""
        with recording(images) as pixels, torch.autocast(images.device.type, enabled=False):
            inputs = self.classifier.normalise(pixels)
            logits, _ = run(self.rule, self.classifier, inputs, "lrp")
            maps = []
            for slope in slopes(targets, logits):
                signal = slope if isinstance(self.rule, Epsilon) else slope * logits.detach().sign()
                (found,) = torch.autograd.grad(logits, inputs, signal, retain_graph=True)
                maps.append(found * inputs.detach())
            return torch.stack(maps, 1)
