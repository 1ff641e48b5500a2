"""A classifier's architecture without its trained weights: that is all a count of its work needs."""

from __future__ import annotations

from typing import Any, cast

from maskwise.classifiers import Classifier, load_classifier
from maskwise.errors import InputError


def skeleton(name: str) -> Classifier:
    """``torchvision/NAME`` and ``timm/NAME`` with random weights, so that nothing is downloaded; others as they are.

    Raises:
        InputError: no such classifier.
    """
    source, _, model = name.partition("/")
    if source == "torchvision" and model:
        from torchvision import models

        if model not in models.list_models(module=models):
            raise InputError(f"torchvision has no classifier {model!r}; see torchvision.models.list_models()")
        size = models.get_model_weights(model).DEFAULT.transforms().crop_size[0]
        return Classifier(models.get_model(model, weights=None), input_size=size, name=name)
    if source == "timm" and model:
        import timm

        if not timm.is_model(model):
            raise InputError(f"timm has no model {model!r}; see timm.list_models()")
        module = timm.create_model(model, pretrained=False)
        config = cast("dict[str, Any]", module.pretrained_cfg)
        return Classifier(module, input_size=config["input_size"][-1], name=name)
    return load_classifier(name)
