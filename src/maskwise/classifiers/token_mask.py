"""A transformer that sees some of its patches only: as if the others had never been there (Covert et al. 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from maskwise.classifiers.prefix_tokens import prefix_tokens
from maskwise.core.errors import InputError

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer


def patch_grid(module: nn.Module, name: str) -> tuple[int, int]:
    """Rows and columns of the patches that a ``token_mask`` is of.

    Args:
        module, name: as of ``attention_mask``.

    Raises:
        InputError: a network that takes none.
    """
    rows, columns = _transformer(module, name).patch_embed.grid_size
    return int(rows), int(columns)


def attention_mask(module: nn.Module, name: str, there: Tensor) -> Tensor:
    """Which keys every query may look at: (N,1,1,T) bool, of all T tokens.

    No query, in no head and no layer, attends to a patch that isn't there, and the answer is read from tokens before
    the patches, which always are. So nothing of those patches reaches it: it is what the network answers where they
    are dropped, with the others where they were.

    Args:
        module: timm's VisionTransformer, read by its class token.
        name: what the classifier is called, for errors.
        there: (N,h,w) or (N,h*w) bool, row by row.

    Raises:
        InputError: another network, or patches of another number.
    """
    network = _transformer(module, name)
    flat = there.flatten(1).bool()
    count = network.patch_embed.num_patches
    if flat.shape[1] != count:
        raise InputError(f"{name}: `token_mask` is (N,{count}), or (N,h,w) of as many, not {tuple(there.shape)}")
    before = prefix_tokens(network) or 0
    keys = nn.functional.pad(flat, (before, 0), value=True)
    return keys[:, None, None]


def _transformer(module: nn.Module, name: str) -> VisionTransformer:
    """The network, if what is masked in it has no part in its answer.

    Raises:
        InputError: it is another one.
    """
    from timm.layers import Attention  # loads slowly, and few classifiers need it
    from timm.models.vision_transformer import VisionTransformer

    if type(module) is not VisionTransformer:
        raise InputError(
            f"{name}: `token_mask` is for timm's VisionTransformer, and this is {type(module).__name__}: hide its "
            "patches in the picture instead"
        )
    if module.global_pool not in ("token", "") or not module.has_class_token or module.attn_pool is not None:
        raise InputError(
            f"{name}: `token_mask` is for transformers that are read by their class token; this one pools its patches "
            f"({module.global_pool}), those that aren't there, too"
        )
    if not all(isinstance(getattr(block, "attn", None), Attention) for block in module.blocks):
        raise InputError(f"{name}: `token_mask` is for plain attention, and its blocks have another kind")
    return module
