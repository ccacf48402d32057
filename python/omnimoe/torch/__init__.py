"""omnimoe for PyTorch: functions with gradients, and modules.

    import omnimoe.torch

    scores, ids = omnimoe.torch.route(row_logits, col_logits, top_k)
    y = omnimoe.torch.experts(x, up, down, scores.exp(), ids)
    layer = omnimoe.torch.OmniMoE(omnimoe.torch.OmniMoEConfig(512, 2048, "silu", 4096, 16))

The functions are operators of `torch.library`: they have gradients, trace under
`torch.compile(fullgraph=True)`, and follow autocast. `import omnimoe` alone does
not import torch.
"""

from ._functions import experts, layer, mlp, route
from ._parts import ExpertVectors, Routing
from .flash_moe import FlashMoE, FlashMoEConfig
from .losses import balance_loss, usage
from .omni_moe import OmniMoE, OmniMoEConfig, auxiliary_loss

__all__ = [
    "ExpertVectors",
    "FlashMoE",
    "FlashMoEConfig",
    "OmniMoE",
    "OmniMoEConfig",
    "Routing",
    "auxiliary_loss",
    "balance_loss",
    "experts",
    "layer",
    "mlp",
    "route",
    "usage",
]
