"""Attention of a transformer: seen while the network computes it, whichever library wrote the network.

``recorder.py`` sees each call, ``reading.py`` says once what a network's attention is made of and refuses what no
method here can read, and ``base.py`` is what the methods share. With A (N,h,T,T) the weights of a call, V its values
and O = A V its output, the gradient of a score S by the weights needs no weights: dS/dA = (dS/dO) V^T, so that fused
kernels stay.
"""
