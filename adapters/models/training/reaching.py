r"""Training of the policy of `reaching_task`: a diffusion of the expert's actions, given the position.

The loss is the squared error of the predicted velocity
:math:`v = \sqrt{\bar\alpha_t}\,\varepsilon - \sqrt{1 - \bar\alpha_t}\,a` on noised actions a.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from mcgen.adapters.composed.episodes import Episode
from mcgen.adapters.models import loading
from mcgen.adapters.models.training.data import Images
from mcgen.adapters.models.training.reaching_task import HORIZON, Reaching, pilot, reaches_any
from mcgen.adapters.models.training.record import Settings, optimize, ship
from mcgen.generators.schedule import Schedule
from mcgen.sampling import sample

SETTINGS: Settings = {
    "seed": 0,
    "steps": 8_000,
    "batch": 512,
    "pairs": 20_000,
    "learning_rate": 2e-3,
    "weight_decay": 0.0,
    "dropout": 0.0,
    "average_decay": 0.999,
    "prediction": "velocity",
    "schedule": "cosine, 1000 steps",
    "bfloat16": False,
}


def train(name: str) -> None:
    """Train the policy, store it and measure its quality."""
    pairs = demonstrations(SETTINGS["pairs"])
    torch.manual_seed(SETTINGS["seed"])
    network = loading.network(name, dropout=SETTINGS["dropout"])
    average, log = optimize(network, lambda net: velocity_loss(net, pairs.x), SETTINGS)
    ship(name, average, pairs, SETTINGS, log, lambda: quality(name, pairs))


def demonstrations(n: int) -> Images:
    """Return n pairs of a position and the expert's action, shape (n, 4), and n / 5 pairs that are held out.

    They are the steps of the expert's episodes. The class of a pair is the side of the goal, 1 for right.
    """
    # An episode of the expert has more than ten steps.
    found = sample(Episode(None, Reaching(), HORIZON, pilot=pilot("expert")), n // 8, seed=SETTINGS["seed"])
    steps = np.arange(HORIZON) < found.length[:, None]
    x = torch.tensor(np.concatenate([found.states[:, :-1, :2], found.actions], axis=2)[steps])
    y = torch.tensor(found.states[:, :-1, 2][steps] > 0).long()
    m = n + n // 5
    source = f"{n:,} steps of an expert in a simulated reaching task (mcgen)"
    return Images(x[:n], y[:n], x[n:m], y[n:m], source, "none needed: computed")


def velocity_loss(network: nn.Module, pairs: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error of the velocity on a random batch of pairs (n, 4)."""
    alpha_bar = torch.tensor(Schedule.cosine().alpha_bar, dtype=torch.float32)
    rows = pairs[torch.randint(len(pairs), (SETTINGS["batch"],))]
    seen, action = rows[:, :2], rows[:, 2:]
    t = torch.randint(len(alpha_bar), (len(action),))
    share = alpha_bar[t][:, None]
    noise = torch.randn_like(action)
    noised = share.sqrt() * action + (1 - share).sqrt() * noise
    velocity = share.sqrt() * noise - (1 - share).sqrt() * action
    return nn.functional.mse_loss(network(noised, t / len(alpha_bar), seen), velocity)


@torch.no_grad()
def quality(name: str, pairs: Images) -> dict[str, float]:
    """Return the loss on training and held-out pairs, and how often episodes of the stored policy reach any goal."""
    network, losses = loading.trained(name), {}
    for part, x in (("training", pairs.x), ("held_out", pairs.x_new)):
        torch.manual_seed(0)
        each = [velocity_loss(network, x).item() for _ in range(100)]
        losses[f"loss_on_{part}_pairs"] = round(float(np.mean(each)), 4)
    found = sample(Episode(loading.load(name), Reaching(), HORIZON), 2_000, seed=0)
    return losses | {"reaches_a_goal": round(float(reaches_any(found.states[:, -1]).mean()), 4)}
