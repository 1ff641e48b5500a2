"""SESS with pruning: windows within what said nothing are left out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from sess.small import SIDE, TINY, brightness, pictures
from torch import Tensor, nn

import maskwise as mw
from maskwise.classifiers import Classifier


class TestPruning:
    def test_children_of_the_hopeless_are_not_scored(self) -> None:
        """The target's evidence is a white corner: windows far from it score nothing."""

        class White(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                white = F.avg_pool2d(x, 4).amax((1, 2, 3))
                return torch.stack([20 * white, torch.full_like(white, 10.0)], 1)

        net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), White())
        classifier = Classifier(net, input_size=SIDE, taps=["1"], mean=(0, 0, 0), std=(1, 1, 1))
        with torch.no_grad():
            conv = classifier.module[0]  # type: ignore[index]
            conv.weight.copy_(torch.eye(3)[:, :, None, None])
            conv.bias.zero_()
        image = torch.zeros(1, 3, 64, 64)
        image[..., 4:16, 4:16] = 1
        full = mw.SESS(brightness, classifier, scales=12, prefilter=0.9)
        quick = mw.SESS(brightness, classifier, scales=12, prefilter=0.9, prune=0.1)
        assert torch.allclose(full(image, 0), quick(image, 0), atol=1e-6)
        assert quick.report["scored"].item() < 0.6 * full.report["scored"].item()

    @pytest.mark.parametrize("name", ["grad_cam", "gradient", "occlusion"])  # each is explained another way
    @pytest.mark.parametrize("r", [0.0, 0.5])
    def test_goals_together_are_what_each_is_alone(self, name: str, r: float) -> None:
        """A window that one of them has scored is none of another's, to whom its parent said nothing."""
        images, options = pictures(2, 50, 64), {"window": 0.5, "stride": 0.25} if name == "occlusion" else {}
        explain = mw.SESS(mw.explainer(name, TINY, **options), scales=4, prefilter=r, stride=16, prune=1.0)
        together = explain(images, [[1, 3]] * 2)
        scored = explain.report["scored"]
        for k, target in enumerate((1, 3)):
            assert torch.allclose(together[:, k], explain(images, target), atol=1e-5)
            assert torch.equal(scored[:, k], explain.report["scored"][:, 0])

    def test_nothing_is_pruned_at_zero(self) -> None:
        image = pictures(2, 40, 60)
        for r in (0.0, 0.5):
            plain = mw.SESS(mw.explainer("grad_cam", TINY), scales=6, prefilter=r)
            pruned = mw.SESS(mw.explainer("grad_cam", TINY), scales=6, prefilter=r, prune=0.0)
            assert torch.allclose(plain(image, 1), pruned(image, 1), atol=1e-6)
