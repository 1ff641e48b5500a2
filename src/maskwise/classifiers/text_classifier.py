"""``TextClassifier``: texts as classes, by a network whose embeddings of pictures and texts meet in one space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from maskwise.classifiers.classifier import Classifier
from maskwise.classifiers.dual_encoder import DualEncoder
from maskwise.classifiers.hf_texts import dual_from_hf
from maskwise.classifiers.link import Activation
from maskwise.classifiers.open_clip_models import CLIP_MEAN, CLIP_STD, dual_from_open_clip
from maskwise.classifiers.output import ScoresAt
from maskwise.classifiers.similarity import CosineScores, check_texts, text_directions
from maskwise.core.errors import InputError
from maskwise.core.options import in_range
from maskwise.labels import Labels


class TextClassifier(Classifier):
    """A classifier whose classes are texts: logits = (scale * cos(f(x), t_k) + bias) / temperature.

    The embeddings of the texts are computed once and kept beside the network; they are a part of the fingerprint. The
    half that reads texts is let go of. Everything that takes a ``Classifier`` takes this one.

    Args:
        encoder: network from normalised pictures (N,C,H,W) to embeddings (N,D).
        texts: one a class, which are its labels.
        embeddings: (K,D) of the texts, where they are known; else ``text_encoder`` makes them.
        text_encoder: from a list of texts to embeddings (n,D).
        templates: sentences with ``{}`` where a text goes; a class is the mean direction of its sentences (Radford et
            al. 2021). None takes texts as they are.
        scale, bias: of the cosine. CLIP learns a scale of about 100, SigLIP a bias besides.
        activation: ``softmax``, texts compete: their contrast is what a map shows, so give the ones that could be
            meant, too; or ``sigmoid``, each by itself. None is sigmoid where there is a bias.
        temperature: divides the logits. At CLIP's scale a softmax is close to 0 or 1, and curves of insertion are
            steps; at 10 they are not. It is a part of the fingerprint.
        mean, std, input_size, taps, name: as ``Classifier`` takes them.
        output: index or name of the embedding where the encoder gives several tensors.

    One text under softmax has probability 1 whatever the picture is, and is refused. Under sigmoid one text is two
    classes, as of any network with one output: ``not`` and the text.

    Raises:
        InputError: one text under softmax, texts without embeddings or an encoder of them, or as ``Classifier``.

    Example:
        >>> import torch
        >>> cats_dogs = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        >>> net = nn.Sequential(nn.Conv2d(3, 3, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> classifier = TextClassifier(net, ["a cat", "a dog"], cats_dogs, scale=100, input_size=16)
        >>> classifier.labels.names, classifier.activation
        (('a cat', 'a dog'), 'softmax')
    """

    def __init__(
        self,
        encoder: nn.Module,
        texts: Sequence[str],
        embeddings: Tensor | None = None,
        *,
        text_encoder: Callable[[list[str]], Tensor] | None = None,
        templates: Sequence[str] = (),
        scale: float = 100.0,
        bias: float | None = None,
        activation: Activation | None = None,
        temperature: float = 1.0,
        mean: Sequence[float] = CLIP_MEAN,
        std: Sequence[float] = CLIP_STD,
        input_size: int | tuple[int, int] = 224,
        taps: Sequence[str] | None = None,
        name: str = "texts",
        output: ScoresAt = None,
    ) -> None:
        check_texts(texts, templates)
        in_range("temperature", temperature, 0, above=True)
        if activation is None:
            activation = "softmax" if bias is None else "sigmoid"
        if len(texts) == 1 and activation == "softmax":
            raise InputError(
                "one text under softmax has probability 1 for every picture, so that maps are flat: add `texts` that "
                "it competes with, such as 'a photo', or take `activation=sigmoid`"
            )
        if embeddings is None:
            if text_encoder is None:
                raise InputError("texts need their `embeddings`, or a `text_encoder` that makes them")
            embeddings = text_directions(text_encoder, texts, templates)
        if len(embeddings) != len(texts):
            raise InputError(f"{len(texts)} texts and {len(embeddings)} embeddings: give one a text")
        self.templates, self.temperature = tuple(templates), float(temperature)
        super().__init__(
            CosineScores(encoder, embeddings, scale / temperature, (bias or 0.0) / temperature, output),
            mean=mean,
            std=std,
            labels=text_labels(texts),
            input_size=input_size,
            taps=taps,
            name=name,
            activation=activation,
        )

    @classmethod
    def of(cls, model: DualEncoder, texts: Sequence[str], **said: Any) -> TextClassifier:
        """Texts as classes of a model of pictures and texts.

        Args:
            said: keywords of the constructor, in place of what the model says.
        """
        own = {
            "text_encoder": model.texts, "scale": model.scale, "bias": model.bias, "mean": model.mean, "std": model.std,
            "input_size": model.size, "name": model.name,
        }  # fmt: skip
        return cls(model.pictures, texts, **{**own, **said})

    @classmethod
    def from_open_clip(
        cls,
        model: Any,
        tokenizer: Callable[[list[str]], Tensor],
        texts: Sequence[str],
        preprocess: Any = None,
        *,
        templates: Sequence[str] = (),
        activation: Activation | None = None,
        temperature: float = 1.0,
        name: str | None = None,
    ) -> TextClassifier:
        """Of a loaded open_clip model, with its own scale, bias and normalisation.

        Args:
            model, tokenizer, preprocess: as ``open_clip.create_model_and_transforms`` and ``get_tokenizer`` give them;
                of the transform only the normalisation counts. Pictures are squashed to the model's size, not cropped.
            texts, templates, activation, temperature, name: as the constructor takes them.

        Raises:
            InputError: no such model, or as the constructor.
        """
        dual = dual_from_open_clip(model, tokenizer, preprocess, name)
        return cls.of(dual, texts, templates=templates, activation=activation, temperature=temperature)

    @classmethod
    def from_hf(
        cls,
        model: Any,
        processor: Any,
        texts: Sequence[str],
        *,
        templates: Sequence[str] = (),
        activation: Activation | None = None,
        temperature: float = 1.0,
        name: str | None = None,
    ) -> TextClassifier:
        """Of a loaded transformers model such as ``CLIPModel`` or ``SiglipModel``, with its own scale and bias.

        Args:
            model: the whole model.
            processor: its processor, or its tokenizer alone.
            texts, templates, activation, temperature, name: as the constructor takes them.

        Raises:
            InputError: no such model, or as the constructor.
        """
        dual = dual_from_hf(model, processor, name)
        return cls.of(dual, texts, templates=templates, activation=activation, temperature=temperature)


def text_labels(texts: Sequence[str]) -> Labels:
    """Labels that are whole texts, whatever commas they hold; one text stands against its absence."""
    names = tuple(text.strip() for text in texts)
    return Labels((f"not {names[0]}", names[0]) if len(names) == 1 else names, synonyms=False)
