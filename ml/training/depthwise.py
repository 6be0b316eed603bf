"""Train depthwise convolutions in float32 where bfloat16 is slow on a processor.

oneDNN (as of torch 2.14) has fast bfloat16 kernels for pointwise convolutions and for the forward pass of depthwise
ones.  The gradients of depthwise ones fall back to a reference kernel where the stride is 2 (gradient of the input) or
the kernel 5 x 5 (gradient of the weight), and took two thirds of a step of EfficientNet-Lite0.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class _Float32:
    """Put before a convolution's class: it computes in float32, whatever surrounds it."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            y: Tensor = super().forward(x.float())  # type: ignore[misc]
        return y.to(x.dtype)


def slow_depthwise_in_float32(network: nn.Module) -> int:
    """Make the depthwise convolutions whose bfloat16 gradients are slow compute in float32; return how many.

    Weights and the names in `state_dict` stay as they are.
    """
    slow = [
        module
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
        and 1 < module.groups == module.in_channels
        and (module.kernel_size[0] > 3 or module.stride[0] > 1)
        and not isinstance(module, _Float32)
    ]
    for module in slow:
        kind: Any = type(module)
        # The class and not `forward` of the instance: a copy of the network would still call the original's.
        module.__class__ = type(f"Float32{kind.__name__}", (_Float32, kind), {})
    return len(slow)
