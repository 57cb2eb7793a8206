"""What people write beside plain training: penalties on gradients, several nets, shapes that decide, forks."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from tinygrad_norm import Tensor, capture, composed, grad, nn, ops, optim, random


def a_critic():
    random.manual_seed(4)
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 1))


def adversarial(generator, critic):
    """A step of two nets: the critic learns with a penalty on its gradient, then the generator."""
    of_critic, of_generator = optim.Adam(critic.parameters(), 1e-2), optim.SGD(generator.parameters(), 1e-2)

    def step(real, noise):
        of_critic.zero_grad()
        made = generator(noise).detach()
        between = Tensor.wrap(ops.add(real * 0.3, made * 0.7).raw)
        between.requires_grad = True
        (slope,) = grad(critic(between).sum(), [between], create_graph=True)
        penalty = ops.mean(ops.square(ops.sqrt(ops.sum(ops.square(slope), axis=1) + 1e-6) - 1))
        loss = critic(made).mean() - critic(real).mean() + 10 * penalty
        loss.backward()
        of_critic.step()
        of_generator.zero_grad()
        fooled = -critic(generator(noise)).mean()
        fooled.backward()
        of_generator.step()
        return loss.detach(), fooled.detach()

    return step


@pytest.mark.parametrize("in_primitives", [False, True])
def test_two_nets_and_a_penalty_on_a_gradient_have_the_bits_of_eager_steps(rng, in_primitives):
    data = [(rng.normal(size=(5, 6)).astype("f"), rng.normal(size=(5, 3)).astype("f")) for _ in range(9)]
    found = []
    for do in (lambda step: step, capture):
        random.manual_seed(2)
        nets = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1D(8, activation="relu"), nn.Linear(8, 6)), a_critic()
        step = do(adversarial(*nets))
        with composed(in_primitives):
            losses = [tuple(each.numpy().tobytes() for each in step(*map(Tensor, batch))) for batch in data]
        found.append((losses, [each.raw.tobytes() for net in nets for each in (*net.parameters(), *net.buffers())]))
    assert found[0] == found[1]
    assert step.why == ""


class Pyramid(nn.Module):
    """Goes on as long as there are pixels: Python decides, by shapes."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2D(2, 2, 3, padding=1), nn.GroupNorm(1, 2)
        self.head = nn.Linear(2, 3)

    def forward(self, x):
        levels = 0
        while x.shape[-1] > 2:
            x = ops.max_pool2d(ops.relu(self.norm(self.convolution(x))), 2)
            levels += 1
        return self.head(x.mean((2, 3))) * (1.0 / levels)


def test_shapes_may_decide(rng):
    random.manual_seed(3)
    model = Pyramid()
    fast = capture(model, strict=True)
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad = False
    for pixels in (4, 16, 4, 8, 16, 4, 8, 16, 8):
        x = Tensor(rng.normal(size=(2, 2, pixels, pixels)).astype("f"))
        assert np.array_equal(fast(x).numpy(), model(x).numpy())
    assert len(fast.plans) == 3
    assert fast.why == ""


# A fork takes no threads along, so both go by NumPy.
FORK = """
import os
import numpy as np
from tinygrad_norm import Tensor, capture, nn
model = nn.Linear(3, 2)
fast = capture(lambda x: model(x).detach())
x = Tensor(np.ones((4, 3), np.float32))
for _ in range(6):
    expected = fast(x).numpy().tobytes()
assert fast.why == ""
if pid := os.fork():
    print("failed", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
else:
    os._exit(int(fast(x).numpy().tobytes() != expected or fast.why != ""))
"""


def test_a_fork_replays_what_its_parent_recorded():
    command = [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", FORK]
    environment = os.environ | {"TINYGRAD_NORM_KERNELS": "reference"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, env=environment)
    assert done.stdout == "failed 0\n"
