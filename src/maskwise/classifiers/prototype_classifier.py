"""``PrototypeClassifier``: classes by example pictures, for encoders that know neither classes nor texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from maskwise.classifiers.classifier import Classifier
from maskwise.classifiers.link import Activation
from maskwise.classifiers.normalisation import IMAGENET_MEAN, IMAGENET_STD
from maskwise.classifiers.output import ScoresAt, scores_of
from maskwise.classifiers.similarity import CosineScores, mean_directions
from maskwise.core.errors import InputError
from maskwise.core.modes import eval_mode
from maskwise.core.options import in_range
from maskwise.images import resize
from maskwise.labels import Labels

SCALE = 1 / 0.07  # DINO's temperature of nearest neighbours, and what CLIP's training begins with
PART = 8  # examples in one forward


class PrototypeClassifier(Classifier):
    """A classifier whose classes are example pictures: logits = scale * cos(f(x), p_k) / temperature.

    The prototype p_k is the mean unit embedding of the class's examples (Snell et al. 2017, with cosines). For DINO and
    other encoders that were trained without labels. Prototypes are a part of the fingerprint.

    Args:
        encoder: network from normalised pictures (N,C,H,W) to embeddings (N,D), as timm's with ``num_classes=0``.
        examples: by class its pictures (n,C,H,W) in [0,1], at least one; of any size, squashed to ``input_size``.
        embeddings: (n_k,D) by class in place of examples, where they are known.
        scale, temperature: of the cosine.
        activation: ``softmax`` or ``sigmoid``; None is softmax.
        mean, std, input_size, taps, name: as ``Classifier`` takes them.
        output: index or name of the embedding where the encoder gives several tensors.

    Raises:
        InputError: neither or both of examples and embeddings, one class under softmax, or as ``Classifier``.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> examples = {"dark": torch.rand(3, 3, 16, 16) / 4, "bright": 1 - torch.rand(2, 3, 16, 16) / 4}
        >>> PrototypeClassifier(net, examples, input_size=16).labels.names
        ('dark', 'bright')
    """

    def __init__(
        self,
        encoder: nn.Module,
        examples: Mapping[str, Tensor] | None = None,
        *,
        embeddings: Mapping[str, Tensor] | None = None,
        scale: float = SCALE,
        temperature: float = 1.0,
        activation: Activation = "softmax",
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        input_size: int | tuple[int, int] = 224,
        taps: Sequence[str] | None = None,
        name: str = "prototypes",
        output: ScoresAt = None,
    ) -> None:
        given = examples if embeddings is None else embeddings
        if (examples is None) == (embeddings is None) or not given:
            raise InputError("give either `examples` or `embeddings`, of at least one class")
        in_range("temperature", temperature, 0, above=True)
        if len(given) == 1 and activation == "softmax":
            raise InputError(
                "one class under softmax has probability 1 for every picture: add a class that it competes with, or "
                "take `activation=sigmoid`"
            )
        if embeddings is None:
            size = (input_size, input_size) if isinstance(input_size, int) else input_size
            assert examples is not None
            parts = [_embedded(encoder, pictures, size, mean, std, output) for pictures in examples.values()]
        else:
            parts = list(embeddings.values())
        names = tuple(given)
        self.temperature = float(temperature)
        super().__init__(
            CosineScores(encoder, mean_directions(parts), scale / temperature, output=output),
            mean=mean,
            std=std,
            labels=Labels((f"not {names[0]}", *names) if len(names) == 1 else names, synonyms=False),
            input_size=input_size,
            taps=taps,
            name=name,
            activation=activation,
        )


def _embedded(
    encoder: nn.Module,
    pictures: Tensor,
    size: tuple[int, int],
    mean: Sequence[float],
    std: Sequence[float],
    output: ScoresAt,
) -> Tensor:
    """Embeddings (n,D) of pictures (n,C,H,W) in [0,1]."""
    if not isinstance(pictures, Tensor) or pictures.ndim != 4 or not len(pictures):
        shape = tuple(pictures.shape) if isinstance(pictures, Tensor) else type(pictures).__name__
        raise InputError(f"the examples of a class are a tensor (n,C,H,W) with n of at least 1, not {shape}")
    weight = next(encoder.parameters(), torch.zeros(()))
    shift, stretch = (torch.tensor(list(values), device=weight.device)[:, None, None] for values in (mean, std))
    found = []
    with torch.inference_mode(False), torch.no_grad(), eval_mode(encoder):
        for part in pictures.split(PART):
            normalised = (resize(part.to(weight.device).float(), size) - shift) / stretch
            found.append(scores_of(encoder(normalised.to(weight.dtype)), output, len(part)))
    return torch.cat(found)
