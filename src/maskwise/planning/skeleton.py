"""A classifier's architecture without its trained weights: that is all a count of its work needs."""

from __future__ import annotations

from typing import Any, cast

from maskwise.classifiers import Classifier, load_classifier
from maskwise.classifiers.torchvision_models import released_weights
from maskwise.core.errors import InputError


def skeleton(name: str) -> Classifier:
    """``torchvision/NAME[@TAG]`` and ``timm/NAME`` with random weights, so that nothing is fetched; others as they are.

    Raises:
        InputError: no such classifier, or no such weights of it.
    """
    source, _, model = name.partition("/")
    if source == "torchvision" and model:
        asked = released_weights(model)
        return Classifier(asked.architecture(), input_size=asked.input_size, name=asked.name)
    if source == "timm" and model:
        import timm

        if not timm.is_model(model):
            raise InputError(f"timm has no model {model!r}; see timm.list_models()")
        module = timm.create_model(model, pretrained=False)
        config = cast("dict[str, Any]", module.pretrained_cfg)
        return Classifier(module, input_size=config["input_size"][-1], name=name)
    return load_classifier(name)
