"""Classes by example pictures."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_net
from torch import nn

import maskwise as mw

DRAWS = torch.Generator().manual_seed(4)
EXAMPLES = {
    "dark, dull": torch.rand(11, 3, 32, 32, generator=DRAWS) / 3,
    "bright": torch.rand(1, 3, 50, 40, generator=DRAWS),
}
PLAIN: dict[str, Any] = {"input_size": 32, "mean": (0, 0, 0), "std": (1, 1, 1)}


def encoder() -> nn.Module:
    return nn.Sequential(*list(tiny_net().children())[:-1])


def test_logits_are_cosines_with_mean_unit_embeddings() -> None:
    """By a loop over the examples; more of them than one forward takes, and of another size."""
    net, images = encoder(), torch.rand(2, 3, 32, 32, generator=DRAWS)
    classifier = mw.PrototypeClassifier(net, EXAMPLES, temperature=2, **PLAIN)
    prototypes = []
    for pictures in EXAMPLES.values():
        small = (
            F.interpolate(pictures, (32, 32), mode="bilinear", antialias=True) if pictures.shape[-1] != 32 else pictures
        )
        units = [F.normalize(net(one[None])[0], dim=0) for one in small]
        prototypes.append(torch.stack(units).mean(0))
    expected = torch.stack([F.cosine_similarity(net(images), row[None]) for row in prototypes], 1) / 0.07 / 2
    assert torch.allclose(classifier.logits(images), expected, atol=1e-4)
    assert classifier.labels.names == ("dark, dull", "bright") and classifier.labels.resolve("dark, dull") == 0
    known = {name: net(F.interpolate(p, (32, 32), mode="bilinear", antialias=True)) for name, p in EXAMPLES.items()}
    again = mw.PrototypeClassifier(net, embeddings=known, temperature=2, **PLAIN)
    assert torch.allclose(again.logits(images), expected, atol=1e-3)


def test_examples_are_a_part_of_who_it_is_and_the_encoder_stays_as_it_was() -> None:
    net = encoder().train()
    first = mw.PrototypeClassifier(net, EXAMPLES, **PLAIN)
    assert all(part.training for part in net.modules()) and all(w.requires_grad for w in net.parameters())
    other = mw.PrototypeClassifier(net, {**EXAMPLES, "bright": EXAMPLES["bright"] / 2}, **PLAIN)
    assert first.fingerprint() != other.fingerprint()


def test_maps_tell_prototypes_apart() -> None:
    classifier = mw.PrototypeClassifier(encoder(), EXAMPLES, **PLAIN)
    maps = mw.explainer("gradient", classifier)(torch.rand(1, 3, 40, 40, generator=DRAWS), [["bright", 0]])
    assert maps.shape == (1, 2, 40, 40) and maps.std() > 0.01


def test_one_class_is_not_and_yes() -> None:
    with pytest.raises(mw.InputError, match="one class under softmax"):
        mw.PrototypeClassifier(encoder(), {"bright": EXAMPLES["bright"]}, **PLAIN)
    one = mw.PrototypeClassifier(encoder(), {"bright": EXAMPLES["bright"]}, activation="sigmoid", **PLAIN)
    assert one.labels.names == ("not bright", "bright")


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ({}, "either `examples` or `embeddings`"),
        ({"examples": {}}, "of at least one class"),
        ({"examples": EXAMPLES, "embeddings": {"a": torch.ones(1, 16)}}, "either"),
        ({"examples": {"a": torch.rand(3, 32, 32), "b": torch.rand(1, 3, 32, 32)}}, r"tensor \(n,C,H,W\)"),
        ({"embeddings": {"a": torch.ones(16), "b": torch.ones(1, 16)}}, r"are \(n,D\)"),
        ({"examples": EXAMPLES, "temperature": -1}, "temperature"),
    ],
)
def test_what_makes_no_classifier(said: dict[str, Any], line: str) -> None:
    with pytest.raises(mw.InputError, match=line):
        mw.PrototypeClassifier(encoder(), **PLAIN, **said)
