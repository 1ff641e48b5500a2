"""A classifier's architecture without its trained weights: that is all a count of its work needs."""

from __future__ import annotations

from typing import Any, cast

from maskwise.classifiers import Classifier, load_classifier
from maskwise.classifiers.torchvision_models import released_weights
from maskwise.core.errors import InputError


def skeleton(name: str, **said: Any) -> Classifier:
    """``torchvision/NAME[@TAG]`` and ``timm/NAME`` with random weights, so that nothing is fetched; others as they are.

    Args:
        name: as ``load_classifier`` takes it.
        said: of the classifier, beside its name: ``mean``, ``std``, ``size``, ``activation``, ``output``.

    Raises:
        InputError: no such classifier, or no such weights of it.
    """
    source, _, model = name.partition("/")
    own = {"input_size" if key == "size" else key: value for key, value in said.items()}
    if source == "torchvision" and model:
        asked = released_weights(model)
        return Classifier(asked.architecture(), **{"input_size": asked.input_size, "name": asked.name, **own})
    if source == "timm" and model:
        import timm

        if not timm.is_model(model):
            raise InputError(f"timm has no model {model!r}; see timm.list_models()")
        module = timm.create_model(model, pretrained=False)
        config = cast("dict[str, Any]", module.pretrained_cfg)
        return Classifier(module, **{"input_size": config["input_size"][-1], "name": name, **own})
    return load_classifier(name, **said)
