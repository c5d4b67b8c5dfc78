"""SBP: moments, divergence and samples against integrals and SciPy."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import truncnorm
from torch import Tensor

from sentei.graph import trace
from sentei.sparsify.base import SparseHook
from sentei.sparsify.sbp import SBP, TruncatedLogNormal
from tests.support.nets import PlainNet, example, fill
from tests.support.sparse import digits_net, penalty_of, setting_for, train_sparse

CASES = [(0.0, -5.0), (-1.0, 0.0), (-10.0, 1.5), (-19.0, -1.0), (-3.0, 3.0)]


def theta(mu: float, log_sigma: float) -> TruncatedLogNormal:
    return TruncatedLogNormal(torch.tensor([mu]), torch.tensor([log_sigma]))


def reference(mu: float, log_sigma: float) -> "truncnorm":
    sigma = np.exp(log_sigma)
    return truncnorm((-20 - mu) / sigma, -mu / sigma, loc=mu, scale=sigma)


@pytest.mark.parametrize(("mu", "log_sigma"), CASES)
def test_the_divergence_is_the_integral_of_the_log_ratio_of_densities(
    mu: float, log_sigma: float
) -> None:
    density = reference(mu, log_sigma)
    sigma = np.exp(log_sigma)

    def term(x: float) -> float:
        return float(density.pdf(x) * (density.logpdf(x) + np.log(20)))

    ends = max(-20, mu - 12 * sigma), min(0, mu + 12 * sigma)
    expected, _ = quad(term, *ends, limit=200, epsabs=1e-12)

    assert float(theta(mu, log_sigma).divergence()) == pytest.approx(expected, rel=1e-8, abs=1e-9)


def test_the_divergence_vanishes_as_the_distribution_becomes_the_prior() -> None:
    found = [float(theta(-10.0, s).divergence()) for s in (2.0, 3.0, 6.0)]

    assert found[0] > found[1] > found[2] > 0
    assert found[2] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("mu", "log_sigma"), CASES)
def test_moments_and_signal_to_noise_are_those_of_integration(mu: float, log_sigma: float) -> None:
    density, sigma = reference(mu, log_sigma), np.exp(log_sigma)
    ends = max(-20, mu - 12 * sigma), min(0, mu + 12 * sigma)
    moments = [
        quad(lambda x, k=k: np.exp(k * x) * density.pdf(x), *ends, limit=200, epsabs=0)[0]
        for k in (1, 2)
    ]

    found = theta(mu, log_sigma)

    assert float(found.log_moment(1).exp()) == pytest.approx(moments[0], rel=1e-7)
    assert float(found.log_moment(2).exp()) == pytest.approx(moments[1], rel=1e-7)
    expected = moments[0] / np.sqrt(moments[1] - moments[0] ** 2)
    assert float(found.signal_to_noise()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("mu", "log_sigma"), CASES)
def test_samples_are_the_quantiles(mu: float, log_sigma: float) -> None:
    shares = np.linspace(0.01, 0.99, 9)

    found = theta(mu, log_sigma).sample(torch.from_numpy(shares))

    expected = np.exp(reference(mu, log_sigma).ppf(shares))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-7)


def test_divergence_and_samples_pass_gradcheck() -> None:
    mu = torch.tensor([-0.5, -4.0, -15.0], dtype=torch.float64, requires_grad=True)
    log_sigma = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64, requires_grad=True)
    shares = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)

    def both(mu: Tensor, log_sigma: Tensor) -> tuple[Tensor, Tensor]:
        found = TruncatedLogNormal(mu, log_sigma)
        return found.divergence(), found.sample(shares)

    assert torch.autograd.gradcheck(both, (mu, log_sigma))


def started(model: PlainNet, method: SBP) -> SparseHook:
    hook = method.start(setting_for(trace(model, example(1, 3, 8, 8))))
    hook.on_start(model)
    return hook


def test_penalty_is_strength_times_the_sum_of_divergences() -> None:
    model = fill(PlainNet())

    penalty = penalty_of(started(model, SBP(strength=0.2)), model)

    expected = 0.2 * 14 * float(theta(0.0, -5.0).divergence())
    assert float(penalty.detach()) == pytest.approx(expected, rel=1e-10)


def test_after_a_step_the_parameters_are_in_their_bounds() -> None:
    model = fill(PlainNet())
    hook = started(model, SBP())
    gates = hook.gates  # type: ignore[attr-defined]
    with torch.no_grad():
        gates.mu.copy_(torch.linspace(-30, 10, 14))
        gates.log_sigma.copy_(torch.linspace(-20, 20, 14))

    with torch.no_grad():
        hook.after_step(model)

    assert gates.mu.detach().aminmax() == (-20, 0)
    assert gates.log_sigma.detach().aminmax() == (-6, 3)
    assert bool(gates().isfinite().all())
    scores = hook.scores(model)
    assert scores is not None
    assert np.isfinite(scores).all()


def test_noise_grows_in_training_on_digits_and_with_it_scores_fall() -> None:
    trained = train_sparse(SBP(strength=0.02), digits_net())

    scores = trained.hook.scores(trained.model)

    assert scores is not None
    assert scores.mean() < float(theta(0.0, -5.0).signal_to_noise())


def test_negative_strength_is_refused() -> None:
    with pytest.raises(ValueError, match="SBP: strength=-1; expected a finite number >= 0"):
        SBP(strength=-1)
