"""``Classifier``: any network that gives class scores, with its normalisation, labels and taps."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from maskwise.classifiers.taps import find_taps, tapped
from maskwise.core.errors import InputError
from maskwise.images import resize
from maskwise.labels import Labels

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Classifier(nn.Module):
    """A frozen classifier on RGB pictures in [0,1].

    Args:
        module: any network from normalised images (N,3,H,W) to logits (N,K).
        mean, std: its normalisation per channel, in [0,1] units; applied in here and nowhere else.
        labels: names of the K classes; None numbers them.
        input_size: the side, in pixels, of the square picture it expects.
        taps: names of the layers to read, fine to coarse; None finds them (see ``taps.py``).
        name: what reports call it.

    Raises:
        InputError: an unknown tap, or a network in which no spatial layer can be found.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> Classifier(net, input_size=16).logits(torch.rand(2, 3, 16, 16)).shape
        torch.Size([2, 4])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        module: nn.Module,
        *,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        labels: Labels | Sequence[str] | None = None,
        input_size: int = 224,
        taps: Sequence[str] | None = None,
        name: str = "classifier",
    ) -> None:
        super().__init__()
        self.module = module.eval().requires_grad_(False)
        self.name, self.input_size = name, input_size
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(3), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(3), persistent=False)
        parameter = next(module.parameters(), None)
        if parameter is not None:
            self.to(parameter.device)
        example = torch.zeros(1, 3, input_size, input_size, device=self.device)
        with torch.no_grad():
            classes = module(example).shape[-1]
        if labels is None:
            labels = [str(i) for i in range(classes)]
        self.labels = labels if isinstance(labels, Labels) else Labels(tuple(labels))
        if len(self.labels) != classes:
            raise InputError(f"{name} gives {classes} classes but {len(self.labels)} labels were given")
        if taps is None:
            self.tap_names = find_taps(module, example)
        else:
            with tapped(module, taps):
                self.tap_names = tuple(taps)

    @property
    def device(self) -> torch.device:
        return self.mean.device

    @property
    def batch(self) -> int:
        """Pictures in one forward: 8 on a CPU, 64 elsewhere.

        The blocks that larger batches need go back to the system after every layer there, and come anew as pages to
        be cleared: 32 pictures took twice the time a picture that 8 took.
        """
        return 8 if self.device.type == "cpu" else 64

    def prepare(self, images: Tensor) -> Tensor:
        """Images (N,3,H,W) squashed to the input size, on the classifier's device."""
        return resize(images.to(self.device), self.input_size)

    def normalise(self, images: Tensor) -> Tensor:
        return (images - self.mean[:, None, None]) / self.std[:, None, None]

    def logits(self, images: Tensor) -> Tensor:
        """Logits (N,K) of images (N,3,H,W) in [0,1]."""
        return self.module(self.normalise(images))

    def features(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits (N,K) and taps [(N,C,h,w), …] from fine to coarse, of one forward."""
        with tapped(self.module, self.tap_names) as seen:
            logits = self.module(self.normalise(images))
        return logits, [seen[name] for name in self.tap_names]

    def forward(self, images: Tensor) -> Tensor:
        """``logits``: a classifier is called like any network, with pictures in [0,1]."""
        return self.logits(images)

    def fingerprint(self) -> str:
        """First 16 hex digits of the SHA-256 of all weights and of the normalisation: who this classifier is."""
        digest = hashlib.sha256()
        for key, value in sorted(self.module.state_dict().items()):
            if key.endswith("num_batches_tracked"):
                continue
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        digest.update(torch.cat([self.mean, self.std]).cpu().numpy().tobytes())
        return digest.hexdigest()[:16]
