"""The way in which a network of transformers computes attention while it is trained."""

import torch
from transformers import PreTrainedModel

LONGEST_PLAIN = 512
"""The most tokens at which plain products, whose memory grows with their square, are faster on a CPU than fused ones.

torch's fused way is slow on a CPU in its bf16 backward pass: 37 ms against 3 for a layer of 32 rows of 40 tokens.
"""


def choose_attention(hosted: PreTrainedModel, *, longest: int | None = None) -> None:
    """Let a network compute attention the faster way: fused on a GPU and for long contexts, else by plain products.

    `longest` is the most tokens that the network reads at once; None where it is never over LONGEST_PLAIN.
    """
    is_long = longest is not None and longest > LONGEST_PLAIN
    fused = (is_long or torch.cuda.is_available()) and getattr(hosted, "_supports_sdpa", False)
    hosted.set_attn_implementation("sdpa" if fused else "eager")
