"""Relevance instead of gradients: what layer-wise relevance propagation and excitation backpropagation share.

Every tensor a of a network has a relevance R. Here it is kept as a *signal* s with R = a * s, element by element, so
that relevance travels back where gradients do and an operation needs a rule of its own only where its ordinary
gradient would not keep the sum of R. Reshapes, slices, concatenations, ReLU, max-pooling, interpolation and products
with constants need none: for these, a_in * gradient already redistributes R.

The rules, the same for every network:

- Weighted sums (convolution, linear, average pooling, mean, sum, residual addition, matrix product): the method's own
  rule, ``Epsilon`` or ``Signed``. Each addend of a residual addition gets its share; constants act as biases.
- Batch norm after a convolution or linear layer is folded into it. Elsewhere ``Epsilon`` takes it as the affine
  function that it is and ``Signed`` passes each element's relevance through.
- Layer, group, instance and RMS norm: the scale is a constant (Ali et al. 2022). ``Epsilon`` lets the mean take part;
  ``Signed`` passes each element's relevance through.
- Pointwise activations (GELU, SiLU, hardswish, sigmoid, ReLU6, ...): each element's relevance passes through.
- Products: all relevance goes to the signal and none to the gate. The gate is the factor that comes out of a
  sigmoid, hardsigmoid, tanh, softmax or ReLU6, else the broadcast one (squeeze-and-excitation); of two equal
  factors each gets half. A divisor is a constant.
- Attention: the softmax is a constant, so that relevance goes to the values and none to queries and keys.
- Anything else: its gradient, that is a linear approximation, which need not keep the sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.errors import InputError
from maskwise.methods.backward_rules import BackwardRules, Handler, plain
from maskwise.methods.goals import Goals
from maskwise.methods.relevance_sums import Epsilon, Link, Pass, Share, Signed, Stabilise

CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
AVERAGES = (
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
    "mean", "sum",
)  # fmt: skip
POINTWISE = (
    "gelu", "silu", "mish", "hardswish", "elu", "selu", "celu", "leaky_relu", "prelu", "softplus", "clamp", "clamp_min",
    "pow", "square", "sqrt", "abs", "local_response_norm", "normalize",
)  # fmt: skip
GATES = ("sigmoid", "hardsigmoid", "tanh", "relu6", "hardtanh")
VIEWS = (
    "expand",
    "expand_as",
    "view",
    "reshape",
    "unsqueeze",
    "squeeze",
    "permute",
    "transpose",
    "flatten",
    "__getitem__",
)


@dataclass
class _Last:
    """The last convolution or linear layer, in case a batch norm comes next."""

    out: Tensor
    version: int
    raw: Tensor
    x: Tensor
    weight: Tensor
    run: Callable[[Tensor, Tensor], Tensor]  # without bias
    bias: Tensor | None


class RelevanceRules(BackwardRules):
    """While open, gradients are relevance signals under ``rule``.

    Attributes:
        final: the last convolution or linear layer that ran, the classifier's own; None if there was none.
    """

    def __init__(self, rule: Epsilon | Signed) -> None:
        handlers: dict[str, Handler] = {
            "linear": partial(self.weighted, F.linear, 0),
            "batch_norm": self.batch_norm,
            "layer_norm": self.layer_norm,
            "group_norm": self.group_norm,
            "instance_norm": self.instance_norm,
            "rms_norm": self.rms_norm,
            "add": lambda input, other, alpha=1: self.summed((input, 1), (other, alpha)),
            "sub": lambda input, other, alpha=1: self.summed((input, 1), (other, -alpha)),
            "rsub": lambda input, other, alpha=1: self.summed((other, 1), (input, -alpha)),
            "mul": self.product,
            "div": self.quotient,
            "matmul": partial(self.bilinear, torch.matmul),
            "rmatmul": lambda input, other: self.bilinear(torch.matmul, other, input),
            "bmm": partial(self.bilinear, torch.bmm),
            "mm": partial(self.bilinear, torch.mm),
            "einsum": self.einsum,
            "softmax": self.softmax,
            "scaled_dot_product_attention": self.attention,
            "multi_head_attention_forward": self.multi_head_attention,
        }
        for d, name in enumerate(CONVOLUTIONS, 1):
            handlers[name] = partial(self.weighted, plain(name), d)
        for d, name in enumerate(TRANSPOSED, 1):
            handlers[name] = partial(self.weighted, plain(name), d, folds=False)
        handlers |= {name: partial(self.averaged, plain(name)) for name in AVERAGES}
        handlers |= {name: partial(self.pointwise, plain(name)) for name in POINTWISE}
        handlers |= {name: partial(self.gate, plain(name)) for name in GATES}
        handlers |= {name.strip("_"): partial(self.viewed, name) for name in VIEWS}
        super().__init__(handlers)
        self.rule = rule
        self.final: Link | None = None
        self._last: _Last | None = None
        self._gates: dict[int, tuple[Tensor, int]] = {}

    def forget(self) -> None:
        """Lets go of the pass: the handlers are this object's own methods, so it is freed late, with all it holds."""
        self.final, self._last = None, None
        self._gates.clear()

    def share(self, link: Link, *inputs: Tensor) -> Tensor:
        """The result of a weighted sum of ``inputs``, which all carry relevance."""
        if isinstance(self.rule, Epsilon):
            return self.stabilised(link.compute(*inputs))
        return Share.apply(self.rule, link, *inputs)  # type: ignore[no-any-return]

    def stabilised(self, y: Tensor) -> Tensor:
        assert isinstance(self.rule, Epsilon)
        return Stabilise.apply(y, self.rule)  # type: ignore[no-any-return]

    # ---- layers with weights

    def weighted(
        self,
        op: Any,
        dims: int,
        input: Tensor,
        weight: Tensor,
        bias: Any = None,
        *args: Any,
        folds: bool = True,
        **kw: Any,
    ) -> Any:
        if not _tracks(input):
            return NotImplemented
        weight = weight.detach()
        bias = None if bias is None else bias.detach()
        link = Link(
            lambda x: op(x, weight, bias, *args, **kw),
            lambda x: op(x, weight.clamp(min=0), None, *args, **kw),
            lambda x: op(x, weight.clamp(max=0), None, *args, **kw),
            None if bias is None else _channels(bias, dims),
        )
        self.final = link
        if isinstance(self.rule, Epsilon):
            raw = link.compute(input)
            out = self.stabilised(raw)
        else:
            raw = out = self.share(link, input)
        if folds and input.ndim == dims + 2:

            def run(x: Tensor, w: Tensor) -> Tensor:
                return op(x, w, None, *args, **kw)  # type: ignore[no-any-return]

            self._last = _Last(out, out._version, raw, input, weight, run, bias)
        return out

    def batch_norm(
        self,
        input: Tensor,
        running_mean: Tensor | None = None,
        running_var: Tensor | None = None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Any:
        if not _tracks(input):
            return NotImplemented
        if training or running_mean is None or running_var is None:  # the batch's statistics, as constants
            others = [d for d in range(input.ndim) if d != 1]
            running_var, running_mean = torch.var_mean(input.detach(), others, correction=0)
        scale = (running_var + eps).rsqrt() * (1 if weight is None else weight.detach())
        shift = (0 if bias is None else bias.detach()) - running_mean * scale
        dims, last = input.ndim - 2, self._last
        folded = last is not None and last.out is input and last.version == input._version

        def affine(x: Tensor) -> Tensor:
            return x * _channels(scale, dims) + _channels(shift, dims)

        if isinstance(self.rule, Epsilon):
            return self.stabilised(affine(last.raw if folded and last is not None else input))
        if not folded or last is None:
            return Pass.apply(input, affine)
        value, fused = input.detach(), last.weight * scale.reshape(-1, *[1] * (last.weight.ndim - 1))
        constant = shift if last.bias is None else shift + last.bias * scale
        run = last.run
        link = Link(
            lambda _: affine(value),
            lambda x: run(x, fused.clamp(min=0)),
            lambda x: run(x, fused.clamp(max=0)),
            _channels(constant, dims),
        )
        return self.share(link, last.x)

    # ---- sums

    def summed(self, *terms: tuple[Any, float]) -> Any:
        if not any(_tracks(x) for x, _ in terms):
            return NotImplemented
        inputs = [x for x, _ in terms if _tracks(x)]
        factors = [f for x, f in terms if _tracks(x)]
        constants = [x * f for x, f in terms if not _tracks(x)]
        like = inputs[0]
        offset = sum(constants)
        bias = torch.as_tensor(offset, device=like.device).detach()
        bias = bias.to(like.dtype) if not bias.is_floating_point() or bias.ndim == 0 else bias
        shape = torch.broadcast_shapes(bias.shape, *(x.shape for x in inputs))

        def add(signs: Sequence[float], xs: Sequence[Tensor]) -> Tensor:
            parts = [x if sign == 1 else sign * x for sign, x in zip(signs, xs, strict=True) if sign]
            total = sum(parts[1:], parts[0]) if parts else torch.zeros((), dtype=like.dtype, device=like.device)
            return total.expand(shape)

        negative = min(factors) < 0
        link = Link(
            lambda *xs: add(factors, xs) + bias if constants else add(factors, xs),
            lambda *xs: add([max(f, 0) for f in factors], xs),
            (lambda *xs: add([min(f, 0) for f in factors], xs)) if negative else None,
            bias if constants else None,
            copies=True,
        )
        return self.share(link, *inputs)

    def averaged(self, op: Any, input: Any, *args: Any, **kw: Any) -> Any:
        if not _tracks(input):
            return NotImplemented
        compute = partial(_call, op, args, kw)
        return self.share(Link(compute, compute, copies=True), input)

    # ---- products

    def product(self, input: Any, other: Any) -> Any:
        if not (_tracks(input) and _tracks(other)):
            if not (_tracks(input) or _tracks(other)):
                return NotImplemented
            return self._as(input if _tracks(input) else other, torch.mul(input, other))
        gates = self._gates_of(input), self._gates_of(other)
        if gates[0] != gates[1]:
            gated = gates[0]
        elif input.numel() != other.numel():
            gated = input.numel() < other.numel()
        else:
            return 0.5 * (input * other.detach()) + 0.5 * (input.detach() * other)
        return input.detach() * other if gated else input * other.detach()

    def quotient(self, input: Any, other: Any, rounding_mode: str | None = None) -> Any:
        if rounding_mode is not None or not _tracks(input):
            return NotImplemented
        return self._as(input, torch.div(input, other.detach() if isinstance(other, Tensor) else other))

    def bilinear(self, op: Any, input: Any, other: Any) -> Any:
        """A product of matrices: linear in the factor that carries relevance; of two such each gets half."""
        if not (_tracks(input) or _tracks(other)):
            return NotImplemented

        def left(weight: Tensor) -> Link:
            return Link(
                lambda x: op(x, weight), lambda x: op(x, weight.clamp(min=0)), lambda x: op(x, weight.clamp(max=0))
            )

        def right(weight: Tensor) -> Link:
            return Link(
                lambda x: op(weight, x), lambda x: op(weight.clamp(min=0), x), lambda x: op(weight.clamp(max=0), x)
            )

        if not _tracks(other):
            return self.share(left(other), input)
        if not _tracks(input):
            return self.share(right(input), other)
        return 0.5 * self.share(left(other.detach()), input) + 0.5 * self.share(right(input.detach()), other)

    def einsum(self, equation: Any, *operands: Any) -> Any:
        if not isinstance(equation, str) or len(operands) != 2:
            return NotImplemented
        return self.bilinear(partial(torch.einsum, equation), *operands)

    # ---- attention

    def softmax(self, input: Any, *args: Any, **kw: Any) -> Any:
        if not _tracks(input):
            return NotImplemented
        return F.softmax(input.detach(), *args, **kw)

    def attention(self, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kw: Any) -> Any:
        query, key = query.detach(), key.detach()

        def compute(v: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(query, key, v, *args, **kw)

        return self.share(Link(compute, compute), value) if _tracks(value) else compute(value)

    def multi_head_attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        embed_dim_to_check: int,
        num_heads: int,
        in_proj_weight: Tensor | None,
        in_proj_bias: Tensor | None,
        bias_k: Tensor | None,
        bias_v: Tensor | None,
        add_zero_attn: bool,
        dropout_p: float,
        out_proj_weight: Tensor,
        out_proj_bias: Tensor | None,
        training: bool = True,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        use_separate_proj_weight: bool = False,
        q_proj_weight: Tensor | None = None,
        k_proj_weight: Tensor | None = None,
        v_proj_weight: Tensor | None = None,
        static_k: Tensor | None = None,
        static_v: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> Any:
        """``nn.MultiheadAttention`` taken apart; with masks or extra tokens it keeps its gradient."""
        extras = (bias_k, bias_v, key_padding_mask, attn_mask, static_k, static_v)
        if not _tracks(value) or query.ndim != 3 or add_zero_attn or any(e is not None for e in extras):
            return NotImplemented
        if in_proj_weight is not None and not use_separate_proj_weight:
            projections: Sequence[Any] = in_proj_weight.chunk(3)
        else:
            projections = (q_proj_weight, k_proj_weight, v_proj_weight)
        biases: Sequence[Any] = (None, None, None) if in_proj_bias is None else in_proj_bias.chunk(3)
        inputs = (query.detach(), key.detach(), value)
        with self:  # the parts of it go through their own rules
            q, k, v = (
                F.linear(x, w, b).unflatten(-1, (num_heads, -1)).permute(1, 2, 0, 3)  # (N,heads,T,d)
                for x, w, b in zip(inputs, projections, biases, strict=True)
            )
            seen = F.scaled_dot_product_attention(q, k, v).permute(2, 0, 1, 3).flatten(2)
            result = F.linear(seen, out_proj_weight, out_proj_bias)
        if not need_weights:
            return result, None
        weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1)
        return result, weights.mean(1) if average_attn_weights else weights

    # ---- normalisations

    def layer_norm(
        self, input: Tensor, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
    ) -> Any:
        if not _tracks(input):
            return NotImplemented
        if isinstance(self.rule, Signed):
            return Pass.apply(input, lambda x: F.layer_norm(x, normalized_shape, weight, bias, eps))
        y = _standardised(input, tuple(range(-len(normalized_shape), 0)), eps)
        return self.stabilised(_scaled(y, weight, bias))

    def group_norm(
        self, input: Tensor, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
    ) -> Any:
        if not _tracks(input):
            return NotImplemented
        if isinstance(self.rule, Signed):
            return Pass.apply(input, lambda x: F.group_norm(x, num_groups, weight, bias, eps))
        y = _standardised(input.reshape(len(input), num_groups, -1), (-1,), eps).reshape(input.shape)
        weight, bias = (None if p is None else _channels(p, input.ndim - 2) for p in (weight, bias))
        return self.stabilised(_scaled(y, weight, bias))

    def instance_norm(
        self,
        input: Tensor,
        running_mean: Any = None,
        running_var: Any = None,
        weight: Any = None,
        bias: Any = None,
        use_input_stats: bool = True,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Any:
        if use_input_stats:
            return self.group_norm(input, input.shape[1], weight, bias, eps)
        return self.batch_norm(input, running_mean, running_var, weight, bias, eps=eps)

    def rms_norm(self, input: Tensor, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
        if not _tracks(input):
            return NotImplemented
        if isinstance(self.rule, Signed):
            return Pass.apply(input, lambda x: F.rms_norm(x, normalized_shape, weight, eps))
        squares = input.detach().square().mean(tuple(range(-len(normalized_shape), 0)), keepdim=True)
        scale = (squares + (torch.finfo(input.dtype).eps if eps is None else eps)).rsqrt()
        return self.stabilised(_scaled(input * scale, weight, None))

    # ---- pointwise functions and the marks of gates

    def pointwise(self, op: Any, input: Any, *args: Any, **kw: Any) -> Any:
        return Pass.apply(input, partial(_call, op, args, kw)) if _tracks(input) else NotImplemented

    def gate(self, op: Any, input: Any, *args: Any, **kw: Any) -> Any:
        result = self.pointwise(op, input, *args, **kw)
        return result if result is NotImplemented else self._mark(result)

    def viewed(self, name: str, input: Any, *args: Any, **kw: Any) -> Any:
        if not self._gates_of(input):
            return NotImplemented
        return self._mark(getattr(input, name)(*args, **kw))

    def _mark(self, gate: Tensor) -> Tensor:
        self._gates[id(gate)] = (gate, gate._version)  # held, so that the id stays its own
        return gate

    def _gates_of(self, x: Any) -> bool:
        held = self._gates.get(id(x))
        return held is not None and held[0] is x and held[1] == x._version

    def _as(self, source: Tensor, result: Tensor) -> Tensor:
        """A gate times a constant is a gate."""
        return self._mark(result) if self._gates_of(source) else result


def _tracks(x: Any) -> bool:
    return isinstance(x, Tensor) and x.requires_grad and torch.is_grad_enabled()


def _call(op: Any, args: Any, kw: Any, x: Tensor) -> Tensor:
    return op(x, *args, **kw)  # type: ignore[no-any-return]


def _channels(values: Tensor, dims: int) -> Tensor:
    """(C,) as (C,1,...,1) before ``dims`` spatial dimensions."""
    return values.reshape(-1, *[1] * dims)


def _standardised(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    """(x - mean) / std, linear in x: the std is a constant."""
    std = (x.detach().var(dims, correction=0, keepdim=True) + eps).sqrt()
    return (x - x.mean(dims, keepdim=True)) / std


def _scaled(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight.detach()
    return x if bias is None else x + bias.detach()


def run(rule: Epsilon | Signed, classifier: Classifier, inputs: Tensor, method: str) -> tuple[Tensor, Link]:
    """Logits (N,C) of normalised pictures, recorded under the rule, and the classifier's own layer.

    Raises:
        InputError: a network of which nothing can be seen, or whose answer is no logit or not finite.
    """
    with RelevanceRules(rule) as rules:
        logits = classifier.module(inputs)
    final = rules.final
    rules.forget()
    if final is None or not logits.requires_grad:
        raise InputError(
            f"{method} finds no way from the answer of {classifier.name} to its layers: it must give logits (no "
            "softmax) and be neither scripted nor compiled; use gradient or integrated_gradients"
        )
    if not logits.isfinite().all():
        raise InputError(f"the answer of {classifier.name} holds NaN or infinity")
    return logits, final


def slopes(goals: Goals, logits: Tensor) -> Iterator[Tensor]:
    """d goal_k / d logits (N,C), one k after another: a one in the place of each class."""
    leaf = logits.detach().requires_grad_(True)
    wanted = goals.logits(leaf)
    for k in range(wanted.shape[1]):
        yield torch.autograd.grad(wanted[:, k].sum(), leaf, retain_graph=True)[0]
