"""What a network's outputs are, found out by asking it: scores, before or behind which activation, of how many."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from maskwise.classifiers.black_box import BlackBox, FunctionBox
from maskwise.classifiers.endings import Ending, ending_of
from maskwise.classifiers.link import Activation
from maskwise.classifiers.output import ScoresAt, scores_of
from maskwise.classifiers.steadiness import Steadiness, steadiness_of
from maskwise.core.errors import InputError
from maskwise.core.modes import eval_mode
from maskwise.core.portions import out_of_memory
from maskwise.core.uncompiled import uncompiled

CONTRASTS = (-20.0, 0.0, 20.0)  # times that of the pictures of noise


@dataclass(frozen=True)
class FirstLook:
    """What two forwards have shown.

    Attributes:
        activation: what makes probabilities of its logits, settled.
        ends_in: the activation whose input are the logits; None reads what the module gives.
        is_paired: one output, two classes.
        gives_findings: several classes, each with a probability by itself: sigmoids, or such numbers as they are.
        reads_probabilities: of classes that exclude each other; their logarithms are its logits.
        outputs: how many scores a picture has.
        steadiness: has a picture the same answer each time, and in any company?
        overwrites: does it write into the pictures that it is given, as ``x.sub_(mean)`` does?
    """

    activation: Activation
    ends_in: Ending | None
    is_paired: bool
    gives_findings: bool
    reads_probabilities: bool
    outputs: int
    steadiness: Steadiness
    overwrites: bool


def first_look(
    module: nn.Module, normalised: Tensor, activation: Activation | None, output: ScoresAt, name: str
) -> FirstLook:
    """Asks a network for two pictures, and again for the first of them alone, in eval mode.

    Args:
        module: the network.
        normalised: two pictures (2,C,H,W) as it takes them.
        activation: as it was said; None finds it out.
        output: where its scores are.
        name: what the classifier is called, for errors.

    Raises:
        InputError: the forward failed, it gives no scores, or a black box's numbers may be probabilities or not.
    """
    with torch.inference_mode(False), torch.no_grad(), eval_mode(module), uncompiled():
        given = normalised.clone()  # which it may overwrite
        try:
            with ending_of(module) as ends:
                raw = module(given)
        except Exception as error:  # every network has its own way to refuse a picture
            if not out_of_memory(error):
                raise InputError(_refusal(module, normalised, error, name)) from None
            normalised = normalised[:1]  # later, too, it is asked for smaller batches
            given = normalised.clone()
            with ending_of(module) as ends:
                raw = module(given)
        overwrites = given._version > 0 or not torch.equal(given, normalised)
        scores = scores_of(raw, output, len(normalised))
        ends_in: Ending | None = None
        if not isinstance(module, BlackBox) and (ending := ends(scores)) is not None:
            ends_in, before = ending
            scores = scores_of(before, None, len(normalised))

        def alone() -> Tensor:
            one = normalised[:1].clone()
            if ends_in is None:
                return scores_of(module(one), output, 1)
            with ends_in.before(module) as logits:
                raw = module(one)
                return logits(raw if isinstance(raw, Tensor) else scores_of(raw, output, None))

        steady = steadiness_of(module, alone, scores[0])
    kind = None if ends_in is None else ends_in.activation
    # Asked only where it decides something: a black box may be slow.
    like_shares = partial(_stay_in_range, module, normalised, output, scores)
    is_paired, is_black_box = scores.shape[1] == 1, isinstance(module, BlackBox)
    reads_probabilities = False
    if is_black_box and activation in (None, "softmax") and not is_paired and _link_of(scores) == "none":
        reads_probabilities, activation = True, "softmax"
    if activation is None:
        _check_told(scores, name, is_black_box, kind, like_shares)
        activation = kind or ("sigmoid" if is_paired else _link_of(scores))
    elif kind is not None and activation == "none":
        ends_in, scores = None, scores_of(raw, output, len(normalised))  # its outputs as they are
    elif kind is None and activation == "sigmoid" and like_shares():
        # What was exported with its sigmoid shows it no more; of all from 0 to 1 a second one makes more than 1/2.
        warnings.warn(
            f"{name} gives numbers from 0 to 1, and `activation=sigmoid` takes them for logits; say "
            "`activation=none` if they are probabilities already",
            stacklevel=3,
        )
    if is_paired and activation == "softmax":
        activation = "sigmoid"
    finds = activation == "sigmoid" or (activation == "none" and _in_range(scores) and _link_of(scores) != "none")
    return FirstLook(
        activation, ends_in, is_paired, finds and not is_paired, reads_probabilities, scores.shape[1], steady,
        overwrites,
    )  # fmt: skip


def _refusal(module: nn.Module, given: Tensor, error: Exception, name: str) -> str:
    said = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    cure = "say what it takes: input_size=224 or (h,w), mean and std with one value a channel"
    if isinstance(module, FunctionBox):
        cure = "it is asked with pictures alone; of a function that makes a network give the torch.nn.Module"
    elif _takes_one(module, given):
        cure = (
            "it takes one picture at a time, as what is exported without a free batch does: export it with "
            "`dynamic_shapes={0: torch.export.Dim('batch')}` for its pictures, or as ONNX"
        )
    return (
        f"{name}: a forward of two pictures {tuple(given.shape)}, {str(given.dtype).removeprefix('torch.')}, "
        f"failed ({said}); {cure}"
    )


def _takes_one(module: nn.Module, given: Tensor) -> bool:
    try:
        module(given[:1].clone())
    except Exception:  # then something else is wrong, too
        return False
    return True


def _check_told(
    scores: Tensor, name: str, is_black_box: bool, kind: Activation | None, like_shares: Callable[[], bool]
) -> None:
    """Of a network its last activation tells what its numbers are; where there is none to be seen these alone do.

    Raises:
        InputError: of a black box they may be several things; of a network that is a warning.
    """
    if kind is not None or not _in_range(scores) or _link_of(scores) == "none":
        return
    said = f"{name} gives numbers from 0 to 1 that don't add up to one"
    if is_black_box:
        raise InputError(
            f"{said}: say what they are, `activation=none` for probabilities of findings that don't exclude each "
            "other, sigmoid or softmax for scores"
        )
    if like_shares():
        warnings.warn(
            f"{said}, and they are taken for logits; say `activation=none` if they are probabilities of findings, or "
            "`activation=softmax` if they are logits",
            stacklevel=4,
        )


def _stay_in_range(module: nn.Module, normalised: Tensor, output: ScoresAt, scores: Tensor) -> bool:
    """Are scores between 0 and 1 so by their nature? Logits leave that range where contrast is many times as high."""
    if not _in_range(scores) or (scores == scores.flatten()[0]).all():  # the last one is a head that says nothing yet
        return False
    try:
        with torch.inference_mode(False), torch.no_grad(), eval_mode(module), uncompiled():
            asked = [scores_of(module(normalised * by), output, len(normalised)) for by in CONTRASTS]
    except Exception:  # what it does not take tells nothing
        return False
    return all(_in_range(one) for one in asked)


def _in_range(scores: Tensor) -> bool:
    return bool((scores >= 0).all()) and bool((scores <= 1).all())


def _link_of(scores: Tensor) -> Activation:
    """``none`` for rows of probabilities that add up to one, else ``softmax``."""
    rows = scores.float()
    adds_up = bool((rows >= 0).all()) and bool(((rows.sum(1) - 1).abs() <= 1e-3).all())
    return "none" if adds_up else "softmax"
