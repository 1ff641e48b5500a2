"""``Classifier``: any network that gives class scores, with its normalisation, link, labels and taps."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any
from uuid import uuid4

import torch
from torch import Tensor, nn
from torch.func import functional_call

from maskwise.classifiers.black_box import BlackBox, FunctionBox, PictureFunction, is_function
from maskwise.classifiers.first_look import first_look
from maskwise.classifiers.grids import GridLayout
from maskwise.classifiers.identity import UNREAD, code_of, fingerprint_of
from maskwise.classifiers.link import ACTIVATIONS, Activation, log_probabilities_of, probabilities_of
from maskwise.classifiers.normalisation import IMAGENET_MEAN, IMAGENET_STD, check_normalisation
from maskwise.classifiers.output import ScoresAt, scores_of
from maskwise.classifiers.taps import Taps, layer_of, tapped
from maskwise.classifiers.token_mask import attention_mask
from maskwise.classifiers.wrappers import unwrapped
from maskwise.core.errors import InputError
from maskwise.core.modes import eval_mode
from maskwise.core.options import one_of
from maskwise.core.precision import HALVES
from maskwise.core.uncompiled import uncompiled
from maskwise.images import resize, with_channels
from maskwise.labels import Labels

log = logging.getLogger(__name__)
MOST_PIXELS = 2**23  # of an input: two are made at once when a network is first looked at


class Classifier(nn.Module):
    """A classifier on pictures in [0,1].

    It is checked by a forward of two pictures, and one of the first of them alone, when it is made. The module is left
    as it was: while it is asked here it is in eval mode, unless ``train()`` of this object says otherwise, and
    afterwards every flag is what it was.

    Args:
        module: any network from normalised images (N,C,H,W) to scores of classes. ``DataParallel``, ``torch.compile``
            and ``torch.export`` programs are looked into; a network may also be scripted, quantised, half or double.
            Or a black box: a function from pictures (N,C,H,W) in [0,1] to probabilities or scores (N,K), a tensor or an
            array, which is asked and never looked into (see ``FunctionBox``).
        mean, std: its normalisation, one value for each of C channels, in [0,1] units; applied nowhere else. A function
            has none, and the mean is the colour of what is hidden from it.
        labels: names of the K classes; None numbers them.
        input_size: the side in pixels of the square pictures it expects, or (h,w).
        taps: names of the layers to read, fine to coarse; None finds them when they are first needed (see ``taps.py``).
        name: what reports call it.
        activation: what makes probabilities of its outputs: ``softmax`` (classes exclude each other), ``sigmoid``
            (each finding by itself) or ``none`` (they are probabilities, or values of another kind). None takes the
            sigmoid for one output, the one that the module itself ends in, ``none`` where what it gives adds up to one,
            and else softmax. Where the module ends in that activation as a layer, logits are read before it. Rows of a
            black box that add up to one are probabilities, softmax, and their logarithms are its logits.
        output: index or name of the scores where the module gives a tuple, a dictionary or an object; None takes its
            ``logits``, or the only tensor (N,K).

    One output is two classes: not, and yes.

    Attributes:
        activation: as above, settled.
        channels: C.
        size: (h,w) in pixels.
        input_size: the longer side of that.
        steadiness: ``steady``; ``random``, where a picture has another answer each time; ``batch``, where that depends
            on the pictures beside it. Maps of the last two are doubted.

    Raises:
        InputError: no network, one whose output is no scores of classes, labels of another number, an unknown tap, a
            normalisation in other units; or the forward failed. Or a black box whose numbers may be probabilities or
            not, so that its ``activation`` must be said.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> classifier = Classifier(net, input_size=16)
        >>> classifier(torch.rand(2, 3, 16, 16)).shape
        torch.Size([2, 4])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        module: nn.Module | PictureFunction,
        *,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        labels: Labels | Sequence[str] | None = None,
        input_size: int | tuple[int, int] = 224,
        taps: Sequence[str] | None = None,
        name: str = "classifier",
        activation: Activation | None = None,
        output: ScoresAt = None,
    ) -> None:
        super().__init__()
        if activation is not None:
            one_of("activation", activation, ACTIVATIONS)
        self.module = _network_of(module, mean, std)
        self.training = False  # of this object; the module keeps its own
        self.name, self.output = name, output
        self._unread = uuid4().hex  # in place of a digest of what can't be read
        height, width = (input_size, input_size) if isinstance(input_size, int) else input_size
        self.size = (int(height), int(width))
        if min(self.size) < 1 or self.size[0] * self.size[1] > MOST_PIXELS:
            raise InputError(
                f"{name}: an input of {self.size[0]}x{self.size[1]} pixels: a side has at least 1, and both together "
                f"no more than {MOST_PIXELS:,}; give another `input_size`"
            )
        with torch.inference_mode(False):  # else mean and deviation could not be differentiated through
            for key, values in (("mean", mean), ("std", std)):
                self.register_buffer(key, torch.tensor([float(v) for v in values]), persistent=False)
            weight = next(self.module.parameters(), None)
            if weight is not None:
                self.to(weight.device)
        check_normalisation(self.mean, self.std, name)
        self.channels = len(self.mean)
        draws = torch.Generator().manual_seed(0)
        images = torch.rand(2, self.channels, *self.size, generator=draws).to(self.device)
        look = first_look(self.module, self.normalise(images).to(self.dtype), activation, output, name)
        self.ends_in = look.ends_in  # the activation whose input are the logits
        self.is_paired = look.is_paired  # one output, two classes
        self.gives_findings = look.gives_findings  # several, each with a probability by itself
        self.reads_probabilities = look.reads_probabilities  # of classes, whose logarithms are its logits
        self.activation: Activation = look.activation
        self.steadiness = look.steadiness
        self.overwrites = look.overwrites  # the pictures that it is given, so that it gets its own
        if self.activation == "none":
            log.info("%s: its outputs are taken as they are, without softmax or sigmoid", name)
        classes = 2 if self.is_paired else look.outputs
        if labels is None:
            labels = [str(i) for i in range(classes)]
        self.labels = labels if isinstance(labels, Labels) else Labels(tuple(labels))
        if len(self.labels) != classes:
            raise InputError(f"{name} gives {classes} classes but {len(self.labels)} labels were given")
        self._named = None if taps is None else tuple(taps)
        for tap in self._named or ():
            layer_of(self.module, tap, reads=False)
        self._taps: Taps | None = None

    # ---- what it is -----------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        return self.mean.device

    @property
    def dtype(self) -> torch.dtype:
        """Of its weights; float32 where none is a floating-point number, as in quantised networks."""
        kinds = (weight.dtype for weight in self.module.parameters() if weight.is_floating_point())
        return next(kinds, torch.float32)

    @property
    def is_black_box(self) -> bool:
        """Is it only asked, since it shows no layers and gives no gradients?"""
        return isinstance(self.module, BlackBox)

    @property
    def input_size(self) -> int:
        return max(self.size)

    @property
    def batch(self) -> int:
        """Pictures in one forward: 8 on a CPU, 64 elsewhere.

        The blocks that larger batches need go back to the system after every layer there, and come anew as pages to
        be cleared: 32 pictures took twice the time a picture that 8 took.
        """
        return 8 if self.device.type == "cpu" else 64

    def example(self, count: int = 1, size: tuple[int, int] | None = None) -> Tensor:
        """Black pictures (count,C,h,w) on its device, for forwards whose values don't matter."""
        return torch.zeros(count, self.channels, *(size or self.size), device=self.device)

    def __repr__(self) -> str:
        mean, std = (", ".join(f"{v:.4g}" for v in values.tolist()) for values in (self.mean, self.std))
        shown = ", ".join(self.labels.name(i) for i in range(min(3, len(self.labels))))
        shown += ", …" if len(self.labels) > 3 else ""
        found = self._taps.names if self._taps is not None else self._named or ()
        lines = [
            f"{self.name}: {type(self.module).__name__} of {len(self.labels)} classes ({shown})",
            f"pictures {self.channels}x{self.size[0]}x{self.size[1]}, mean ({mean}), std ({std})",
            f"activation {self.activation}" + (f", outputs {self.output!r}" if self.output is not None else ""),
            f"taps {', '.join(found) if found else 'not looked for yet'}",
        ]
        return "Classifier(" + ";\n           ".join(lines) + ")"

    def described(self, **said: Any) -> Classifier:
        """The same network, or another ``module``, with other facts: keywords of the constructor, of which those left
        out stay.

        Raises:
            InputError: as the constructor.
        """
        own = {
            "module": self.module, "mean": self.mean.tolist(), "std": self.std.tolist(), "labels": self.labels,
            "input_size": self.size, "taps": self._named, "name": self.name, "activation": self.activation,
            "output": self.output,
        }  # fmt: skip
        return Classifier(**{**own, **said})

    # ---- pictures in ----------------------------------------------------------------------------------------

    def prepare(self, images: Tensor) -> Tensor:
        """Images (N,c,H,W) squashed to the input size, with its channels, on the classifier's device.

        Those in half precision are widened to float32: a CPU does not resize them, and the network casts them anyway.
        """
        images = images.to(self.device, torch.float32 if images.dtype in HALVES else images.dtype)
        return resize(with_channels(images, self.channels), self.size)

    def normalise(self, images: Tensor) -> Tensor:
        return (images - self.mean[:, None, None]) / self.std[:, None, None]

    # ---- scores out -----------------------------------------------------------------------------------------

    def network(
        self, normalised: Tensor, weights: Mapping[str, Tensor] | None = None, token_mask: Tensor | None = None
    ) -> Tensor:
        """Logits (N,K) of normalised pictures (N,C,H,W), which are cast to the type of the network's weights.

        Args:
            weights: a state dict in place of the network's own.
            token_mask: (N,h,w) or (N,h*w) bool, the patches that a transformer sees; the others might as well not be
                there (see ``token_mask.py``).

        Raises:
            InputError: ``token_mask`` for a network that is no transformer of timm's with a class token.
        """
        run = self.module if weights is None else partial(_called, self.module, dict(weights))
        if token_mask is not None:
            run = partial(run, attn_mask=attention_mask(self.module, self.name, token_mask.to(normalised.device)))
        if not torch.is_autocast_enabled(normalised.device.type):
            normalised = normalised.to(self.dtype)
        if self.overwrites:  # methods read them again, and an answer must not depend on what was asked before
            normalised = normalised.clone()
        with self._asked():
            if self.ends_in is None:
                return self.read(run(normalised), normalised)
            with self.ends_in.before(self.module) as logits:
                raw = run(normalised)
                scores = raw if isinstance(raw, Tensor) else scores_of(raw, self.output, None)
            return self.read(logits(scores), normalised)

    def _asked(self) -> AbstractContextManager[None]:
        """In what state the module answers: as it was written, and in eval mode; while it is compiled, as it is."""
        return nullcontext() if torch.compiler.is_compiling() else self._settled()

    @contextmanager
    def _settled(self) -> Iterator[None]:
        # In train mode of this object each part is in its own. Else what another thread holds in eval mode is held,
        # too: that one would put it back in the middle of this forward.
        with uncompiled(), nullcontext() if self.training else eval_mode(self.module):
            yield

    def read(self, raw: Any, given: Tensor | None = None) -> Tensor:
        """Logits (N,K) in what the module gave; where it is a black box, for the pictures (N,C,H,W) ``given``."""
        if self.is_black_box:  # which may have computed anywhere, in any type, and answer a part of what it was asked
            scores = scores_of(raw, self.output, None if given is None else len(given)).to(self.device, torch.float32)
        else:
            scores = raw if isinstance(raw, Tensor) and raw.ndim == 2 else scores_of(raw, self.output, None)
            if scores.dtype in HALVES and self.dtype in HALVES:
                scores = scores.float()
        if self.reads_probabilities:
            return scores.clamp(min=torch.finfo(scores.dtype).tiny).log()
        if not self.is_paired:
            return scores
        return torch.cat([1 - scores, scores], 1) if self.activation == "none" else torch.cat([-scores, scores], 1)

    def logits(
        self, images: Tensor, weights: Mapping[str, Tensor] | None = None, token_mask: Tensor | None = None
    ) -> Tensor:
        """Logits (N,K) of images (N,C,H,W) in [0,1]; ``weights`` and ``token_mask`` as ``network`` takes them."""
        return self.network(self.normalise(images), weights, token_mask)

    def forward(self, images: Tensor) -> Tensor:
        """``logits``: a classifier is called like any network, with pictures in [0,1]."""
        return self.logits(images)

    def probabilities(self, logits: Tensor, dim: int = 1) -> Tensor:
        """Probabilities of logits, by its activation; in float32 at least."""
        return probabilities_of(logits.float() if logits.dtype in HALVES else logits, self.activation, dim)

    def log_probabilities(self, logits: Tensor, dim: int = 1) -> Tensor:
        """Their logarithms."""
        return log_probabilities_of(logits.float() if logits.dtype in HALVES else logits, self.activation, dim)

    # ---- layers ---------------------------------------------------------------------------------------------

    @property
    def taps(self) -> Taps:
        """The layers that are read, found by a forward when they are first asked for.

        Raises:
            InputError: no layer with a spatial grid was found.
        """
        if self._taps is None:
            example = self.normalise(self.example()).to(self.dtype)
            with torch.inference_mode(False), eval_mode(self.module), uncompiled():
                self._taps = Taps.found(self.module, example, self._named)
        return self._taps

    @property
    def tap_names(self) -> tuple[str, ...]:
        """Names of the taps, fine to coarse."""
        return self.taps.names

    def layout(self, layer: str) -> GridLayout | None:
        """Where the places of a layer's output are; None where that is not known before a forward."""
        return self.taps.layouts.get(layer)

    @contextmanager
    def tapped(self, names: Sequence[str], leaf: bool = False, raw: bool = False) -> Iterator[dict[str, Tensor]]:
        """While open, forwards file the outputs of the named layers (see ``taps.tapped``)."""
        with tapped(self.module, names, leaf, self.taps.layouts, raw) as seen:
            yield seen

    def features(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits (N,K) and taps [(N,c,h,w), …] from fine to coarse, of one forward."""
        with self.tapped(self.tap_names) as seen:
            logits = self.logits(images)
        return logits, [seen[name] for name in self.tap_names]

    def fingerprint(self) -> str:
        """Who this classifier is: first 16 hex digits of the SHA-256 of all weights and of the normalisation.

        An activation that is not softmax is a part of it, too.
        """
        return fingerprint_of(self.module, self.mean, self.std, self.activation)

    def code(self) -> str | None:
        """16 hex digits of what weights do not say of a network of yours; None where there is nothing of that kind.

        It is of its classes that are no library's, what they were told beyond weights, the layers that it is put
        together of, a program's graph, and ``output``. What can't be read is "unread", with a warning.
        """
        return code_of(type(self), self.module, self.output, self.name)

    def digest(self) -> str:
        """Who computes its scores and maps, as what is kept on disk is filed: the fingerprint and, where there is any,
        the code and the taps that were named, which methods read where no layer is said.

        Of code that can't be read the digest is no other classifier's, so that what is kept is not found again.
        """
        code = self.code()
        named = "" if self._named is None else f"-taps {','.join(self._named)}"
        return self.fingerprint() + ("" if code is None else f"-{self._unread if code == UNREAD else code}") + named


def still_copy(classifier: Classifier) -> Classifier:
    """A copy that is in eval mode and asks for no gradients, whatever its network does elsewhere."""
    copied = copy.deepcopy(classifier).eval()
    for weight in copied.module.parameters():
        weight.requires_grad_(False)
    return copied


def learning_copy(classifier: Classifier) -> Classifier:
    """``still_copy`` to be trained: half precision, which would lose most of a step to rounding, becomes float32."""
    return widened(still_copy(classifier))


def widened(classifier: Classifier) -> Classifier:
    """Itself, with weights in float32 from now on where they were in half precision."""
    if classifier.dtype in HALVES:
        classifier.module.float()
    return classifier


def _called(module: nn.Module, weights: dict[str, Tensor], given: Tensor, **more: Tensor) -> Any:
    return functional_call(module, weights, (given,), more)


def _network_of(module: Any, mean: Sequence[float], std: Sequence[float]) -> nn.Module:
    """What takes normalised pictures."""
    if is_function(module):
        return FunctionBox(module, mean, std)
    return module.behind(mean, std) if isinstance(module, FunctionBox) else unwrapped(module)
