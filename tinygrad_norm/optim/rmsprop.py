"""RMSprop."""

from __future__ import annotations

from tinygrad_norm.dtypes import Array
from tinygrad_norm.launch import item
from tinygrad_norm.optim.optimizer import Group, Optimizer, Parameters, State


class RMSprop(Optimizer):
    """Follow the gradient, each element in units of its running root mean square.

    Args:
        params: tensors, or groups of them.
        lr: learning rate: about how far an element moves in a step.
        alpha: how much of the running mean of the squared gradient is kept at each step.
        eps: added to the root mean square.
        weight_decay: added to the gradient, times the parameter: the gradient of an L2 penalty.
        momentum: how much of the running sum of scaled gradients is kept at each step.
        centered: divide by the running standard deviation instead: subtract the running mean.
        maximize: go up instead of down.

    Raises:
        TypeError: something that is no tensor, or an option of the wrong type.
        ValueError: no parameters, one given twice, or an option out of range.

    Source: Hinton, Neural networks for machine learning, lecture 6, 2012; `centered`: Graves, "Generating sequences
        with recurrent neural networks", 2013.

    Example:
        >>> w = nn.Parameter([3.0])
        >>> optimizer = optim.RMSprop([w], lr=0.1)
        >>> (w**2).sum().backward()
        >>> optimizer.step()
        >>> print(w.numpy().round(3))  # over √((1 - alpha) 6²)
        [2.]
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
        options |= {"centered": centered, "maximize": maximize}
        super().__init__(params, options, {"square_avg": None, "grad_avg": "centered", "momentum_buffer": "momentum"})

    def update(self, parameter: Array, gradient: Array, state: State, group: Group) -> None:
        """Take one step of RMSprop."""
        self.run(
            "rmsprop_update",
            parameter,
            gradient,
            [self.buffer(name, parameter, state, group) for name in self.buffers],
            lr=item(group, "lr"),
            alpha=item(group, "alpha"),
            eps=item(group, "eps"),
            weight_decay=item(group, "weight_decay"),
            momentum=item(group, "momentum"),
        )
