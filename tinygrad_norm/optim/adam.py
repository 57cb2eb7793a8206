"""Adam, and AdamW, which decays the weights apart from the gradient."""

from __future__ import annotations

from typing import ClassVar

from tinygrad_norm.dtypes import Array
from tinygrad_norm.launch import item
from tinygrad_norm.optim.optimizer import Group, Optimizer, Parameters, State


class Adam(Optimizer):
    """Follow the running mean of the gradient, each element in units of its running root mean square.

    Args:
        params: tensors, or groups of them.
        lr: learning rate: about how far an element moves in a step.
        betas: how much of the running means of the gradient and of its square is kept at each step.
        eps: added to the root mean square.
        weight_decay: added to the gradient, times the parameter: the gradient of an L2 penalty.
        amsgrad: divide by the largest running mean of the square so far.
        maximize: go up instead of down.

    Raises:
        TypeError: something that is no tensor, or an option of the wrong type.
        ValueError: no parameters, one given twice, or an option out of range.

    Source: Kingma and Ba, Adam: a method for stochastic optimization, 2015; `amsgrad`: Reddi et al., "On the
        convergence of Adam and beyond", 2018.

    Example:
        >>> w = nn.Parameter([3.0])
        >>> optimizer = optim.Adam([w], lr=0.1)
        >>> (w**2).sum().backward()
        >>> optimizer.step()
        >>> print(w.numpy().round(3))  # the first step goes by lr, however large the gradient is
        [2.9]
    """

    decoupled: ClassVar[bool] = False

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        options |= {"amsgrad": amsgrad, "maximize": maximize}
        super().__init__(params, options, {"exp_avg": None, "exp_avg_sq": None, "max_exp_avg_sq": "amsgrad"})

    def update(self, parameter: Array, gradient: Array, state: State, group: Group) -> None:
        """Take one step of Adam."""
        self.run(
            "adam_update",
            parameter,
            gradient,
            [self.buffer(name, parameter, state, group) for name in self.buffers],
            step=item(state, "step"),
            lr=item(group, "lr"),
            beta1=item(item(group, "betas"), 0),
            beta2=item(item(group, "betas"), 1),
            eps=item(group, "eps"),
            weight_decay=item(group, "weight_decay"),
            decoupled=self.decoupled,
        )


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameter by itself, `lr * weight_decay` of it at each step.

    The other arguments are Adam's. `decay_groups` keeps the decay off biases and norms.

    Source: Loshchilov and Hutter, Decoupled weight decay regularization, 2019.

    Example:
        >>> w = nn.Parameter([3.0])
        >>> optimizer = optim.AdamW([w], lr=0.1, weight_decay=0.1)
        >>> (w * 0.0).sum().backward()
        >>> optimizer.step()
        >>> print(w.numpy().round(3))  # 3 · (1 - 0.1 · 0.1)
        [2.97]
    """

    decoupled = True

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)
