"""Models of transformers for pictures and texts: CLIP, SigLIP and their kin, by name, by folder, or a loaded object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor, nn

from maskwise.classifiers.dual_encoder import DualEncoder
from maskwise.classifiers.hf import hf_size
from maskwise.classifiers.hf_hub import fetching, image_processor
from maskwise.classifiers.open_clip_models import CLIP_MEAN, CLIP_STD
from maskwise.core.errors import InputError

HALVES_OF_ONE = ("vision_model", "get_text_features", "logit_scale")  # what a model needs to be one of these


class PictureFeatures(nn.Module):
    """The half of a transformers model that sees: pictures in, embeddings out.

    Args:
        vision: gives an object with ``pooler_output``.
        projection: into the space of the texts; SigLIP has none.
    """

    def __init__(self, vision: nn.Module, projection: nn.Module | None = None) -> None:
        super().__init__()
        self.vision = vision
        self.projection = nn.Identity() if projection is None else projection

    def forward(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.projection(self.vision(pixel_values=images).pooler_output))


def reads_texts(model: Any) -> bool:
    """Is it a transformers model of two halves, for pictures and for texts?"""
    return all(hasattr(model, name) for name in HALVES_OF_ONE)


def dual_from_hf(model: Any, processor: Any, name: str | None = None) -> DualEncoder:
    """The parts of a loaded transformers model.

    Args:
        model: ``CLIPModel``, ``SiglipModel``, or another with ``vision_model`` and ``get_text_features``.
        processor: its processor; or its tokenizer alone, where the normalisation is the usual one of its kind. SigLIP's
            texts are padded to the full length, as it was trained.
        name: what reports call it.

    Raises:
        InputError: no such model.
    """
    if not reads_texts(model):
        raise InputError(
            f"{type(model).__name__} is no model of transformers for pictures and texts (CLIPModel, SiglipModel)"
        )
    config, looks = model.config, getattr(processor, "image_processor", None)
    tokenizer, bias = getattr(processor, "tokenizer", processor), getattr(model, "logit_bias", None)
    longest = getattr(getattr(config, "text_config", config), "max_position_embeddings", None)
    padding = True if bias is None else "max_length"

    def encode(texts: list[str]) -> Tensor:
        given = tokenizer(texts, padding=padding, truncation=True, max_length=longest, return_tensors="pt")
        return _pooled(model.get_text_features(**{key: given[key].to(model.device) for key in _read(given)}))

    usual = (CLIP_MEAN, CLIP_STD) if bias is None else ((0.5,) * 3, (0.5,) * 3)
    mean, std = (getattr(looks, f"image_{key}", None) or usual[i] for i, key in enumerate(("mean", "std")))
    return DualEncoder(
        pictures=PictureFeatures(model.vision_model, getattr(model, "visual_projection", None)),
        texts=encode,
        scale=float(model.logit_scale.detach().exp()),
        bias=None if bias is None else float(bias.detach()),
        mean=tuple(map(float, mean)),
        std=tuple(map(float, std)),
        size=hf_size(looks, config),
        name=name or f"hf/{getattr(config, 'name_or_path', '') or type(model).__name__}",
    )


def _read(given: Mapping[str, Any]) -> list[str]:
    """What a text's half is given of what its tokenizer says."""
    return [key for key in ("input_ids", "attention_mask", "position_ids", "token_type_ids") if key in given]


def _pooled(found: Any) -> Tensor:
    """Transformers 4 gave a tensor, 5 gives an object."""
    return found if isinstance(found, Tensor) else cast(Tensor, found.pooler_output)


def load_hf_texts(name: str) -> DualEncoder:
    """A model by its name on the hub, or a folder that ``save_pretrained`` wrote.

    Only safetensors are read, and no code from the hub is run.

    Raises:
        InputError: transformers is missing, the model or its processor can't be loaded, or it does not read texts.
    """
    try:
        from transformers import AutoModel, AutoTokenizer
    except ImportError:
        raise InputError(f"hf/{name} needs transformers: pip install 'maskwise[text]'") from None
    with fetching(name):
        model = AutoModel.from_pretrained(name, use_safetensors=True, trust_remote_code=False)
        if not reads_texts(model):
            raise InputError(f"hf/{name} is {type(model).__name__}, which reads no texts: leave `texts` out")
        tokenizer = cast(Any, AutoTokenizer).from_pretrained(name, trust_remote_code=False)
    return dual_from_hf(model.eval().requires_grad_(False), _Processor(tokenizer, image_processor(name)), f"hf/{name}")


class _Processor:
    """The two halves of a processor, which load where the whole does not."""

    def __init__(self, tokenizer: Any, image_processor: Any) -> None:
        self.tokenizer, self.image_processor = tokenizer, image_processor
