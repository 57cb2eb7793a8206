"""Optimizers: one step of one parameter. What is updated is written in place; a buffer of None is not used."""

from __future__ import annotations

from tinygrad_norm.dtypes import AnyArray


def sgd_update(
    parameter: AnyArray,
    gradient: AnyArray,
    momentum_buffer: AnyArray | None,
    *,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
) -> None:
    """Stochastic gradient descent: v = μv + (1−τ)g, θ = θ − ηv.

    With `nesterov`, θ = θ − η(g + μv).

    Source: Sutskever et al., On the importance of initialization and momentum in deep learning, 2013.
    """
    if weight_decay != 0:
        gradient = gradient + weight_decay * parameter
    if momentum_buffer is not None:
        momentum_buffer *= momentum
        momentum_buffer += (1 - dampening) * gradient
        gradient = gradient + momentum * momentum_buffer if nesterov else momentum_buffer
    parameter -= lr * gradient


def adam_update(
    parameter: AnyArray,
    gradient: AnyArray,
    exp_avg: AnyArray,
    exp_avg_sq: AnyArray,
    max_exp_avg_sq: AnyArray | None,
    *,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """Adam: m = β₁m + (1−β₁)g, v = β₂v + (1−β₂)g², θ = θ − η·m̂ / (√v̂ + ε), where m̂ = m / (1−β₁ᵗ), v̂ = v / (1−β₂ᵗ).

    Source: Kingma and Ba, Adam: a method for stochastic optimization, 2015; `decoupled`: Loshchilov and Hutter,
    Decoupled weight decay regularization, 2019; `max_exp_avg_sq`: Reddi et al., On the convergence of Adam and
    beyond, 2018.
    """
    xp = parameter.__array_namespace__()
    if decoupled:
        parameter *= 1 - lr * weight_decay
    elif weight_decay != 0:
        gradient = gradient + weight_decay * parameter
    exp_avg += (1 - beta1) * (gradient - exp_avg)
    exp_avg_sq *= beta2
    exp_avg_sq += (1 - beta2) * gradient * gradient
    if max_exp_avg_sq is not None:
        max_exp_avg_sq[...] = xp.maximum(max_exp_avg_sq, exp_avg_sq)
        exp_avg_sq = max_exp_avg_sq
    denominator = xp.sqrt(exp_avg_sq) / (1 - beta2**step) ** 0.5 + eps
    parameter -= lr / (1 - beta1**step) * exp_avg / denominator


def rmsprop_update(
    parameter: AnyArray,
    gradient: AnyArray,
    square_avg: AnyArray,
    grad_avg: AnyArray | None,
    momentum_buffer: AnyArray | None,
    *,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
) -> None:
    """RMSprop: s = αs + (1−α)g², θ = θ − ηg / (√s + ε); with `grad_avg`, its square is taken from s.

    Source: Hinton, Neural networks for machine learning, lecture 6, 2012; `grad_avg`: Graves, Generating sequences with
    recurrent neural networks, 2013.
    """
    xp = parameter.__array_namespace__()
    if weight_decay != 0:
        gradient = gradient + weight_decay * parameter
    square_avg *= alpha
    square_avg += (1 - alpha) * gradient * gradient
    variance = square_avg
    if grad_avg is not None:
        grad_avg += (1 - alpha) * (gradient - grad_avg)
        variance = xp.clip(square_avg - grad_avg * grad_avg, 0, None)  # rounding may take it below 0
    update = gradient / (xp.sqrt(variance) + eps)
    if momentum_buffer is not None:
        momentum_buffer *= momentum
        momentum_buffer += update
        update = momentum_buffer
    parameter -= lr * update
