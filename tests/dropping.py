"""A transformer of timm's, and what it says of some of its tokens alone."""

from __future__ import annotations

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor


def small_transformer(**options: object) -> VisionTransformer:
    """Of pictures of 64x64 and 4x4 patches, with five classes; in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        settings = {"img_size": 64, "depth": 3, "num_classes": 5, **options}
        net = timm.create_model("vit_tiny_patch16_224", **settings).eval()
        for weight in net.parameters():  # random weights that answer as differently as trained ones
            if weight.ndim == 2:
                torch.nn.init.normal_(weight, 0, 0.2)
        assert isinstance(net, VisionTransformer)
        return net


def dropped(net: VisionTransformer, normalised: Tensor, there: Tensor) -> Tensor:
    """The network on those tokens alone, one picture after another, with the positions that they had."""
    found = []
    for picture, kept in zip(normalised, there.flatten(1), strict=True):
        tokens = net.pos_drop(net._pos_embed(net.patch_embed(picture[None])))
        before = net.num_prefix_tokens
        tokens = torch.cat([tokens[:, :before], tokens[:, before:][:, kept]], 1)
        for block in net.blocks:
            tokens = block(tokens)
        found.append(net.head(net.fc_norm(net.norm(tokens)[:, 0])))
    return torch.cat(found)
