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
- Attention: the softmax is a constant, so that relevance goes to the values and none to queries and keys; or, asked
  for, it has its gradient, and both products in attention halve.
- Anything else: its gradient, that is a linear approximation, which need not keep the sum.
"""

from maskwise.explainers.relevance.rules import RelevanceRules, run, slopes

__all__ = ["RelevanceRules", "run", "slopes"]
