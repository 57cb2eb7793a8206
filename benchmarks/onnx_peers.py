"""Inference by onnxruntime, of the nets that PyTorch folds and exports; it lays out and packs weights once."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable

from benchmarks.contenders import torch_net
from benchmarks.nets import batch


def onnx_inference(name: str, size: int) -> Callable[[], object]:
    """The logits in onnxruntime, with all threads and batch norm folded."""
    import onnxruntime

    from benchmarks.peer_folding import fold_batch_norm

    torch, model, images = torch_net(name, size, channels_last=False)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the other exporter needs a package more
        torch.onnx.export(fold_batch_norm(model.eval()), (images,), file, dynamo=False, input_names=["x"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count() or 1
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    x = batch(name, size)[0]
    return lambda: session.run(None, {"x": x})
