"""A small vision transformer on a convolutional stem, distilled on few pictures and packaged."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, cast

from torch import nn

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer

STEM = 5  # stages of EfficientNet-Lite0, up to a stride of 16
CHANNELS = 112  # of the last of them
PATCH = 16  # pixels of a side, by the stem's stride
BLOCKS = 8


class Stem(nn.Sequential):
    """The first stages of EfficientNet-Lite0: (N,3,H,W) to (N,112,H/16,W/16)."""

    num_features = CHANNELS

    def __init__(self) -> None:
        from timm import create_model
        from timm.models.efficientnet import EfficientNet

        lite = cast(EfficientNet, create_model("tf_efficientnet_lite0"))
        stages = lite.blocks
        named = {"conv": lite.conv_stem, "norm": lite.bn1, **{f"stage{i}": stages[i] for i in range(STEM)}}
        super().__init__(OrderedDict(cast("dict[str, nn.Module]", named)))


def hybrid_vit(size: int = 224, classes: int = 1000) -> VisionTransformer:
    """ViT-Tiny's width and heads, 8 blocks, its patches read by a stem ("hybrid", Dosovitskiy et al. 2021, 3.1).

    A transformer by itself needs millions of pictures; on features that are learned already a few thousand will do.

    Args:
        size: side of the pictures in pixels, a multiple of 16; the tokens are 1 for the class and (size/16)^2 places.
        classes: outputs.
    """
    from timm.layers import HybridEmbed
    from timm.models.vision_transformer import VisionTransformer

    places = size // PATCH
    embed = partial(HybridEmbed, backbone=Stem(), feature_size=(places, places))
    return VisionTransformer(
        img_size=size, patch_size=1, num_classes=classes, embed_dim=192, num_heads=3, depth=BLOCKS, embed_layer=embed
    )
