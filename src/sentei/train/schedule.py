"""The learning rate as a function of the step; it has no state, so a restart needs none."""

import math

from sentei.train.config import TrainConfig


def learning_rate_at(config: TrainConfig, *, step: int, num_steps: int) -> float:
    r"""Return the learning rate of one step.

    .. math:: \eta_t = \eta \min(1, (t + 1) / W) \text{ for } t < W, \qquad
              \eta_t = \eta (1 + \cos(\pi (t - W) / (T - W))) / 2 \text{ after}

    with W the steps of the warm-up (a real number) and T all steps of the run; the constant
    schedule keeps :math:`\eta` after the warm-up, and the step schedule divides it by ten for each
    share s of the run with :math:`t \ge s T`.

    Source: Loshchilov and Hutter, SGDR, ICLR 2017, arXiv:1608.03983 (one period, no restart).

    Args:
        config: The recipe.
        step: Index t of the step in the whole run, from 0.
        num_steps: Steps of one epoch, >= 1.

    Returns:
        The learning rate, in (0, ``config.learning_rate``].
    """
    warmup = config.warmup_epochs * num_steps
    if step < warmup:
        return config.learning_rate * min(1.0, (step + 1) / warmup)
    if config.schedule == "constant":
        return config.learning_rate
    if config.schedule == "step":
        # What floating point adds to 1 / 3 * 30 must not delay a fall.
        falls = sum(step >= share * config.epochs * num_steps - 1e-6 for share in config.step_at)
        return config.learning_rate / 10**falls
    done = (step - warmup) / (config.epochs * num_steps - warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
