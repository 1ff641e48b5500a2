"""Logits that are similarities: cosines of a picture's embedding with one row a class."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from maskwise.classifiers.output import ScoresAt, scores_of
from maskwise.core.errors import InputError
from maskwise.core.precision import HALVES

TINY = 1e-12  # length of an embedding below which it has no direction


class CosineScores(nn.Module):
    """scale * unit(f(x)) . unit(t_k) + bias, for each row t_k.

    Rows, scale and bias are buffers: they go to the device with the network, and into a classifier's fingerprint.

    Args:
        encoder: network from normalised pictures (N,C,H,W) to embeddings (N,D).
        embeddings: (K,D), of any length above 0; their directions are kept.
        scale, bias: of the cosines.
        output: index or name of the embedding where the encoder gives several tensors; None takes the only one (N,D).

    Raises:
        InputError: embeddings of another shape, or with a row that has no direction.

    Example:
        >>> scores = CosineScores(nn.Flatten(), torch.eye(3), scale=10)
        >>> scores(torch.tensor([[[[0.0, 3.0, 4.0]]]]))
        tensor([[0., 6., 8.]])
    """

    embeddings: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(
        self, encoder: nn.Module, embeddings: Tensor, scale: float = 1.0, bias: float = 0.0, output: ScoresAt = None
    ) -> None:
        super().__init__()
        if embeddings.ndim != 2 or not len(embeddings):
            raise InputError(f"embeddings are (K,D), one row a class, not {tuple(embeddings.shape)}")
        rows = embeddings.detach().float()
        if not rows.isfinite().all() or (rows.norm(dim=1) <= TINY).any():
            raise InputError(
                "an embedding must be finite and have a direction: a row of zeros or NaN is similar to nothing"
            )
        self.encoder, self.output = encoder, output
        self.register_buffer("embeddings", _unit(rows).clone())
        self.register_buffer("scale", torch.tensor(float(scale)))
        self.register_buffer("bias", torch.tensor(float(bias)))

    def forward(self, images: Tensor) -> Tensor:
        raw = self.encoder(images)
        # LeGrad and Recipro-CAM run many variants behind one picture: rows (N,D) may then be more than the pictures.
        count = None if isinstance(raw, Tensor) and raw.ndim == 2 else len(images)
        found = scores_of(raw, self.output, count)
        found = found.float() if found.dtype in HALVES else found
        if found.shape[1] != self.embeddings.shape[1]:
            raise InputError(
                f"the encoder gives embeddings of {found.shape[1]} numbers, and those of the classes have "
                f"{self.embeddings.shape[1]}"
            )
        rows = (self.embeddings * self.scale).to(found.dtype)
        return nn.functional.linear(_unit(found), rows, self.bias.to(found.dtype).expand(len(rows)))


def _unit(vectors: Tensor) -> Tensor:
    length: Tensor = vectors.norm(dim=-1, keepdim=True)
    return vectors / length.clamp_min(TINY)


def mean_directions(parts: Sequence[Tensor]) -> Tensor:
    """(K,D): of each class the mean of its unit embeddings (n_k,D), of unit length again.

    Raises:
        InputError: a class without an embedding, or whose embeddings cancel.
    """
    for part in parts:
        if part.ndim != 2 or not len(part):
            raise InputError(f"the embeddings of a class are (n,D) with n of at least 1, not {tuple(part.shape)}")
    means = torch.stack([_unit(part.detach().float()).mean(0) for part in parts])
    if (means.norm(dim=1) <= 1e-6).any():
        raise InputError("the embeddings of a class cancel: it has no mean direction")
    return _unit(means)


def text_directions(
    encode: Callable[[list[str]], Tensor], texts: Sequence[str], templates: Sequence[str] = (), batch: int = 64
) -> Tensor:
    """(K,D): of each text the mean direction of its prompts (Radford et al. 2021, section 3.1.4).

    Args:
        encode: from texts to embeddings (n,D).
        texts: one a class.
        templates: sentences with ``{}`` in the place of a text, as ``a photo of a {}.``; none takes texts as they are.
        batch: prompts in one call of ``encode``.

    Raises:
        InputError: no text, an empty one, or a template without a place for one.
    """
    check_texts(texts, templates)
    used = list(templates) or ["{}"]
    prompts = [template.replace("{}", text) for text in texts for template in used]
    with torch.inference_mode(False), torch.no_grad():
        parts = [encode(prompts[i : i + batch]).detach() for i in range(0, len(prompts), batch)]
    return mean_directions(list(torch.cat(parts).split(len(used))))


def check_texts(texts: Sequence[str], templates: Sequence[str] = ()) -> None:
    """Raises InputError unless there is a text a class, and in each template a place for it."""
    if isinstance(texts, str) or not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise InputError("`texts` is a list of texts, one a class, and none is empty")
    for template in templates:
        if "{}" not in template:
            raise InputError(f"`templates`: {template!r} has no {{}} where a text goes, as in 'a photo of a {{}}.'")
