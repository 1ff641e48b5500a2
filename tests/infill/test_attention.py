"""Contextual attention against loops over patches, and on features whose missing part stands elsewhere too."""

import numpy as np
import torch

from maskwise.infill.attention import contextual_attention


def by_loops(features: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """One picture, (C,h,w) and (4h,4w): Yu et al.'s layer as the public PyTorch port computes it."""
    channels, height, width = features.shape
    small, hole = np.pad(features[:, ::2, ::2], ((0, 0), (1, 1), (1, 1))), np.pad(holes[::8, ::8], 1)
    rows, columns = height // 2, width // 2
    places = [(i, j) for i in range(rows) for j in range(columns)]
    patch = {p: small[:, p[0] : p[0] + 3, p[1] : p[1] + 3] for p in places}
    known = np.array([hole[i : i + 3, j : j + 3].sum() == 0 for i, j in places])
    length = len(places)
    scores = np.zeros((length, length))
    for a, key in enumerate(places):
        for b, query in enumerate(places):
            size = np.sqrt((patch[key] ** 2 + 1e-4).sum())
            scores[a, b] = (patch[key] / size * patch[query]).sum()

    def propagated(scores: np.ndarray, order: list[int]) -> np.ndarray:
        out = np.zeros_like(scores)
        for a in range(length):
            for b in range(length):
                for step in (-1, 0, 1):
                    if 0 <= a + step < length and 0 <= b + step < length:
                        out[order[a], order[b]] += scores[order[a + step], order[b + step]]
        return out

    scores = propagated(scores, list(range(length)))
    scores = propagated(scores, [i * columns + j for j in range(columns) for i in range(rows)])
    scores = scores * known[:, None]
    weights = np.exp(10 * (scores - scores.max(0)))
    weights = weights / weights.sum(0) * known[:, None]
    large, out = np.pad(features, ((0, 0), (1, 1), (1, 1))), np.zeros((channels, height + 2, width + 2))
    for b, (i, j) in enumerate(places):
        for a, (k, m) in enumerate(places):
            source = large[:, 2 * k : 2 * k + 4, 2 * m : 2 * m + 4]
            out[:, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += weights[a, b] * source / 4
    return out[:, 1:-1, 1:-1]


def test_it_is_the_port_s_layer_picture_by_picture() -> None:
    """The two pictures have different holes: the port takes the first one's for both."""
    g = torch.Generator().manual_seed(0)
    features = 0.3 * torch.randn(2, 3, 10, 14, generator=g)
    holes = torch.zeros(2, 1, 40, 56)
    holes[0, :, 8:20, 10:30], holes[1, :, 20:, 30:] = 1, 0.2
    out = contextual_attention(features, holes)
    for i in range(2):
        expected = by_loops(features[i].double().numpy(), holes[i, 0].double().numpy())
        np.testing.assert_allclose(out[i].numpy(), expected, atol=1e-4)


def test_what_is_missing_is_copied_from_where_it_stands_elsewhere() -> None:
    """Period 8 in both directions: a missing part equals another one, which the scores find by its own content."""
    g = torch.Generator().manual_seed(1)
    features = torch.randn(1, 16, 8, 8, generator=g).repeat(1, 1, 4, 4)
    holes = torch.zeros(1, 1, 128, 128)
    holes[..., 48:80, 48:80] = 1
    inside = contextual_attention(features, holes)[..., 13:19, 13:19]
    torch.testing.assert_close(inside, features[..., 13:19, 13:19], atol=1e-3, rtol=0)


def test_where_nothing_is_known_the_answer_is_zeros() -> None:
    features = torch.rand(1, 4, 8, 8)
    assert not contextual_attention(features, torch.full((1, 1, 32, 32), 0.01)).any()
