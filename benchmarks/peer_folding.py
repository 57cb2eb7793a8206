"""Batch norm folded into the layer before it, in PyTorch."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.fx import symbolic_trace
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

FOLDS = {(nn.Conv2d, nn.BatchNorm2d): fuse_conv_bn_eval, (nn.Linear, nn.BatchNorm1d): fuse_linear_bn_eval}


def fold_batch_norm(model: Any) -> Any:
    """Return the model, as after `eval()`, without the batch norms that follow a convolution or a linear layer."""
    traced = symbolic_trace(model)
    for node in list(traced.graph.nodes):
        if node.op != "call_module" or node.args[0].op != "call_module" or len(node.args[0].users) > 1:
            continue
        before = node.args[0]
        layer, norm = [traced.get_submodule(found.target) for found in (before, node)]
        if fold := FOLDS.get((type(layer), type(norm))):
            traced.set_submodule(before.target, fold(layer, norm))
            node.replace_all_uses_with(before)
            traced.graph.erase_node(node)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced
