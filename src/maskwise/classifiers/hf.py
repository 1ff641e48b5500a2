"""Image classifiers of Hugging Face's transformers: ``hf/NAME``, a local folder, or a loaded object."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from maskwise.classifiers.classifier import Classifier
from maskwise.classifiers.hf_hub import fetching, image_processor
from maskwise.classifiers.normalisation import IMAGENET_MEAN, IMAGENET_STD
from maskwise.core.errors import InputError


class Logits(nn.Module):
    """The network behind a transformers classifier: pictures in, logits out.

    Args:
        model: any model whose output has ``logits``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.model(pixel_values=images).logits)


def is_hf(module: Any) -> bool:
    """Is it a transformers model? Asked without importing transformers."""
    return any(base.__module__.startswith("transformers.") for base in type(module).__mro__)


def from_hf(model: Any, processor: Any = None, name: str | None = None) -> Classifier:
    """A loaded transformers classifier as ours.

    Args:
        model: an ``…ForImageClassification``.
        processor: its image processor, which knows normalisation and size; None takes ImageNet's mean and standard
            deviation, and the size in the model's configuration.
        name: what reports call it.

    Raises:
        InputError: no image classifier.
    """
    config = getattr(model, "config", None)
    if config is None or not type(model).__name__.endswith("ForImageClassification"):
        raise InputError(f"{type(model).__name__} is no image classifier of transformers (…ForImageClassification)")
    labels = [str(config.id2label.get(i, i)) for i in range(config.num_labels)]
    return Classifier(
        Logits(model),
        mean=getattr(processor, "image_mean", None) or IMAGENET_MEAN,
        std=getattr(processor, "image_std", None) or IMAGENET_STD,
        labels=labels,
        input_size=hf_size(processor, config),
        name=name or f"hf/{getattr(config, 'name_or_path', '') or type(model).__name__}",
    )


def load_hf(name: str, weights: str | Path | None = None) -> Classifier:
    """A classifier by its name on the hub, or a folder that ``save_pretrained`` wrote.

    Only safetensors are read, and no code from the hub is run.

    Raises:
        InputError: transformers is missing, the model or its processor can't be loaded, or it is no image classifier.
    """
    try:
        from transformers import AutoModelForImageClassification
    except ImportError:
        raise InputError(f"hf/{name} needs transformers: pip install transformers") from None
    if weights is not None:
        raise InputError("hf/NAME takes no `weights`; name a folder that save_pretrained wrote: hf/FOLDER")
    with fetching(name):
        _check_has_classes(name)
        model = AutoModelForImageClassification.from_pretrained(name, use_safetensors=True, trust_remote_code=False)
    return from_hf(model.eval().requires_grad_(False), image_processor(name), f"hf/{name}")


def _check_has_classes(name: str) -> None:
    """Transformers would give a model of pictures and texts a head of its own, with random weights.

    Raises:
        InputError: it is such a model.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    (made,) = (getattr(config, "architectures", None) or [""])[:1]
    if hasattr(config, "text_config") and hasattr(config, "vision_config") and not made.endswith("Classification"):
        raise InputError(
            f"hf/{name} is {made or config.model_type}, which has no classes of its own: name them by `texts`"
        )


def hf_size(processor: Any, config: Any) -> int | tuple[int, int]:
    """Of the pictures that it takes: what its processor makes, or else what the configuration says."""
    for given in (getattr(processor, "crop_size", None), getattr(processor, "size", None)):
        sides = [_entry(given, key) for key in ("height", "width")]
        if all(sides):
            return int(sides[0]), int(sides[1])
        if shortest := _entry(given, "shortest_edge"):
            return int(shortest)
    of_pictures = getattr(config, "vision_config", config)  # of those that also read text
    size: Any = getattr(of_pictures, "image_size", 224)
    return (int(size[0]), int(size[1])) if isinstance(size, (list, tuple)) else int(size)


def _entry(sizes: Any, key: str) -> Any:
    return sizes.get(key) if isinstance(sizes, Mapping) else getattr(sizes, key, None)
