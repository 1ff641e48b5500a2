"""Models of open_clip: ``open_clip/NAME@TAG``, ``open_clip/NAME`` with a file of weights, or a loaded object."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from maskwise.classifiers.dual_encoder import DualEncoder
from maskwise.core.errors import InputError
from maskwise.core.weights import fill, read_weights

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HUB = "hf-hub:"


def dual_from_open_clip(
    model: Any, tokenizer: Callable[[list[str]], Tensor], preprocess: Any = None, name: str | None = None
) -> DualEncoder:
    """The parts of a loaded open_clip model.

    Args:
        model: ``CLIP``, ``CustomTextCLIP`` or another with ``visual`` and ``encode_text``.
        tokenizer: from texts to numbers (n,L), as ``open_clip.get_tokenizer`` gives it.
        preprocess: the transform that came with the model, whose normalisation counts; None takes what the model says
            of itself, and else CLIP's.
        name: what reports call it.

    Raises:
        InputError: no such model.
    """
    visual = getattr(model, "visual", None)
    if not isinstance(visual, nn.Module) or not hasattr(model, "encode_text"):
        raise InputError(f"{type(model).__name__} is no model of open_clip with pictures and texts")
    mean, std = _normalisation(visual, preprocess)
    size = getattr(visual, "image_size", 224)
    bias = getattr(model, "logit_bias", None)
    return DualEncoder(
        pictures=_Pooled(visual),
        texts=lambda texts: model.encode_text(tokenizer(texts).to(model.logit_scale.device)),
        scale=float(model.logit_scale.detach().exp()),
        bias=None if bias is None else float(bias.detach()),
        mean=mean,
        std=std,
        size=(int(size[0]), int(size[1])) if isinstance(size, (tuple, list)) else int(size),
        name=name or f"open_clip/{type(model).__name__}",
    )


class _Pooled(nn.Module):
    """The embedding alone, of a tower that may give its tokens, too."""

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, images: Tensor) -> Tensor:
        found = self.visual(images)
        pooled: Tensor = found[0] if isinstance(found, tuple) else found
        return pooled


def _normalisation(visual: Any, preprocess: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    for step in getattr(preprocess, "transforms", ()):
        if hasattr(step, "mean") and hasattr(step, "std"):
            return tuple(map(float, step.mean)), tuple(map(float, step.std))
    said = getattr(visual, "preprocess_cfg", None) or {}  # of models that the library's factory made
    return tuple(said.get("mean", CLIP_MEAN)), tuple(said.get("std", CLIP_STD))


def load_open_clip(name: str, weights: str | Path | None = None) -> DualEncoder:
    """A model by its name.

    Args:
        name: ``NAME@TAG``, one of open_clip's trained weights; ``NAME`` alone with a file; ``hf-hub:OWNER/NAME``.
        weights: a state dict of the whole model.

    Raises:
        InputError: open_clip is missing, an unknown name or tag, weights that can't be fetched or don't fit.
    """
    try:
        import open_clip
    except ImportError:
        raise InputError(
            f"open_clip/{name} needs open_clip: pip install 'maskwise[text]', or pip install open_clip_torch"
        ) from None
    plain, at, tag = name.partition("@")
    if not name.startswith(HUB):
        if plain not in open_clip.list_models():
            raise InputError(f"open_clip has no model {plain!r}; see open_clip.list_models()")
        tags = open_clip.list_pretrained_tags_by_model(plain)
        if weights is None and tag not in tags:
            have = f"open_clip has {', '.join(tags)}" if tags else "open_clip has none: give a file as `weights`"
            raise InputError(f"open_clip/{plain} needs the name of its weights, open_clip/{plain}@TAG; {have}")
    state = None if weights is None else read_weights(weights)
    try:
        with torch.random.fork_rng(devices=[]):
            model, _, preprocess = open_clip.create_model_and_transforms(
                plain, pretrained=tag if at and state is None else None, weights_only=True
            )
        tokenizer = open_clip.get_tokenizer(plain)
    except Exception as error:  # the hub's client raises many kinds
        line = " ".join(str(error).split())[:120]
        raise InputError(f"open_clip/{name} can't be loaded ({type(error).__name__}: {line})") from None
    if state is not None:
        fill(model, state, f"the weights do not fit open_clip/{plain}")
    return dual_from_open_clip(model.eval().requires_grad_(False), tokenizer, preprocess, f"open_clip/{name}")
