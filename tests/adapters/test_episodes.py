"""Episodes: the exact law of a linear Gaussian one, rows that end apart, shared autonomy, what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from helpers import FALSE_ALARM, SEED, Z_LIMIT, binomial_p_value, z_score
from scipy import stats

torch = pytest.importorskip("torch")

import mcgen  # noqa: E402
from mcgen import Antithetic, Block, MonteCarlo, NoiseSpec  # noqa: E402
from mcgen.adapters import Environment, Episode, Partial, Situation, Start, from_torch, models  # noqa: E402
from mcgen.adapters.models.training.reaching_task import HORIZON, PILOTS, Reaching, pilot, reaches_any  # noqa: E402
from mcgen.validation import check_generator  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*the replicate means", "ignore:all .* replicate means"),
    pytest.mark.usefixtures("one_torch_thread"),
]

# s' = KEEP s + PUSH a + DISTURBANCE xi with a = GAIN s + JITTER z, from s = MEAN + SD z.
KEEP, PUSH, DISTURBANCE = 0.9, 0.5, 0.2
GAIN, JITTER = -0.3, 0.4
MEAN, SD, STEPS = 1.0, 0.5, 6


class Linear:
    """Episodes that never end, and are a success at positive states."""

    action_shape = (1,)
    start_noise = Block((1,))
    step_noise: Block | None = Block((1,))

    def start(self, noise: np.ndarray) -> np.ndarray:
        return MEAN + SD * noise

    def step(self, state: np.ndarray, action: np.ndarray, noise: np.ndarray) -> np.ndarray:
        return KEEP * state + PUSH * action + DISTURBANCE * noise

    def observe(self, state: np.ndarray) -> np.ndarray:
        return state

    def succeeded(self, state: np.ndarray) -> np.ndarray:
        return state[:, 0] > 0

    def ended(self, state: np.ndarray) -> np.ndarray:
        return np.zeros(len(state), bool)


class Reusing(Linear):
    """A broken one: every step has the disturbance of the first."""

    def start(self, noise: np.ndarray) -> np.ndarray:
        self.first: Any = None
        return super().start(noise)

    def step(self, state: np.ndarray, action: np.ndarray, noise: np.ndarray) -> np.ndarray:
        self.first = noise if self.first is None else self.first
        return super().step(state, action, self.first)


class Ending(Linear):
    """Episodes end beyond 1.5; the steps write into their arguments."""

    def step(self, state: np.ndarray, action: np.ndarray, noise: np.ndarray) -> np.ndarray:
        state += PUSH * action + DISTURBANCE * noise
        action *= 0
        return state

    def ended(self, state: np.ndarray) -> np.ndarray:
        return abs(state[:, 0]) > 1.5


def gaussian_policy(dtype: str = "float64") -> mcgen.Generator:
    spec = NoiseSpec.normal((1,), dtype)
    return mcgen.as_generator(lambda z, state: GAIN * state + JITTER * z, noise=spec, name="linear policy")


def moments() -> tuple[float, float]:
    """Mean and variance of the last state: s' = (KEEP + PUSH GAIN) s + PUSH JITTER z + DISTURBANCE xi."""
    mean, variance = MEAN, SD**2
    for _ in range(STEPS):
        mean *= KEEP + PUSH * GAIN
        variance = (KEEP + PUSH * GAIN) ** 2 * variance + (PUSH * JITTER) ** 2 + DISTURBANCE**2
    return mean, variance


def drawn(generator: mcgen.Generator, n: int) -> dict[str, np.ndarray]:
    noise = MonteCarlo().draw(generator.noise, n, SEED)
    return {name: noise[name][:, 0] for name, _ in generator.noise.blocks}


def test_a_linear_gaussian_episode_has_its_exact_law() -> None:
    episode = Episode(gaussian_policy(), Linear(), STEPS)
    mean, variance = moments()
    found = mcgen.sample(episode, 20_000, seed=SEED)
    last = found.states[:, -1, 0]
    assert abs(z_score(last, mean)) < Z_LIMIT
    assert abs(z_score((last - mean) ** 2, variance)) < Z_LIMIT
    chance = float(stats.norm.sf(-mean / math.sqrt(variance)))
    assert binomial_p_value(int(found.success.sum()), len(last), chance) > FALSE_ALARM
    assert found.states.shape == (20_000, STEPS + 1, 1)
    assert (found.length == STEPS).all()
    # A disturbance that is drawn once and used at every step has another variance: the check sees it.
    reused = mcgen.sample(Episode(gaussian_policy(), Reusing(), STEPS), 20_000, seed=SEED).states[:, -1, 0]
    assert abs(z_score((reused - mean) ** 2, variance)) > Z_LIMIT


def test_every_random_number_is_noise_of_a_named_block() -> None:
    episode = Episode(gaussian_policy(), Linear(), 2, pilot=pilot_of_lines(), join=lambda action, seen: seen)
    names = ["start", "pilot 1/hand", "pilot 1/lag", "policy 1/noise", "environment 1"]
    names += [name.replace("1", "2") for name in names[1:]]
    assert [name for name, _ in episode.noise.blocks] == names
    assert dict(episode.noise.blocks)["pilot 2/lag"] == Block((), "uniform")
    # Pairs of a linear model are exact.
    result = mcgen.estimate(
        Episode(gaussian_policy(), Linear(), STEPS),
        lambda rollout: rollout.states[:, -1, 0],
        design=Antithetic(),
        n_evaluations=64,
        seed=SEED,
    )
    assert result.mean == pytest.approx(moments()[0])
    assert result.half_width < 1e-12


def pilot_of_lines() -> mcgen.Generator:
    noise = NoiseSpec({"hand": Block((1,)), "lag": Block((), "uniform")}, "float64")

    def act(noise: dict[str, np.ndarray], seen: Situation) -> np.ndarray:
        # The state, the last action and the step can be told apart in what comes out.
        return seen.state + 10 * seen.last_action + 1000 * seen.step + noise["lag"][:, None] * 0

    return mcgen.as_generator(act, noise, name="lines")


def test_a_pilot_knows_the_state_and_its_last_action_and_the_policy_gets_both() -> None:
    seen: list[Any] = []

    def policy(z: np.ndarray, given: Start) -> np.ndarray:
        seen.append(given)
        return given.sample / 2

    assistant = mcgen.as_generator(policy, NoiseSpec.normal((1,), "float64"), name="half")
    episode = Episode(assistant, Linear(), 2, pilot=pilot_of_lines())
    found = episode(drawn(episode, 5))
    first = found.states[:, 0] + 1000
    assert np.allclose(found.pilot_actions[:, 0], first)
    assert np.allclose(found.pilot_actions[:, 1], found.states[:, 1] + 10 * first + 2000)
    assert np.allclose(found.actions, found.pilot_actions / 2)
    assert all(isinstance(one, Start) for one in seen)
    assert np.allclose(seen[1].condition, found.states[:, 1])


def test_rows_that_end_stay_and_change_no_other() -> None:
    episode = Episode(gaussian_policy(), Ending(), STEPS)
    noise = drawn(episode, 200)
    found = episode(noise)
    over = found.length < STEPS
    assert 20 < over.sum() < 180
    for row in range(200):
        end = found.length[row]
        assert (found.states[row, end:] == found.states[row, end]).all()
        assert (found.actions[row, end:] == 0).all()
        assert abs(found.states[row, :end]).max(initial=0) <= 1.5
        alone = episode({name: block[row : row + 1] for name, block in noise.items()})
        assert all(np.array_equal(one[0], whole[row]) for one, whole in zip(alone, found, strict=True))
    assert (abs(found.states[over, -1]) > 1.5).all()
    assert found.pilot_actions.shape == (200, 0, 1)


def reaching(name: str, step: int | None = 8, **options: Any) -> Episode:
    policy = models.load("reaching-policy", steps=10)
    assistant = None if step is None else Partial(policy, step)
    return Episode(assistant, Reaching(), HORIZON, pilot=pilot(name), **options)


@pytest.mark.parametrize("name", PILOTS)
def test_laws_hold_for_every_pilot(name: str) -> None:
    check_generator(reaching(name)).require()


def test_without_help_the_pilot_acts_and_alone_the_policy_forgets_it() -> None:
    alone = reaching("laggy", None)
    found = alone(drawn(alone, 20))
    assert np.array_equal(found.actions, found.pilot_actions)
    policy = models.load("reaching-policy", steps=10)
    ignoring = Episode(policy, Reaching(), HORIZON, pilot=pilot("laggy"), join=lambda action, seen: seen)
    noise = drawn(ignoring, 20)
    only = Episode(policy, Reaching(), HORIZON)
    assert np.array_equal(ignoring(noise).states, only({name: noise[name] for name, _ in only.noise.blocks}).states)
    # The laggy pilot's coin flips are noise: with lag 1 it never repeats, with lag 0 it always does.
    for u, repeats in ((0.99, False), (0.0, True)):
        flips = {name: np.full_like(block, u) if name.endswith("lag") else block for name, block in noise.items()}
        moves = alone({name: flips[name] for name, _ in alone.noise.blocks})
        same = (moves.pilot_actions[:, 1] == moves.pilot_actions[:, 0]).all(axis=1)
        assert same.all() == repeats == same.any()


def test_some_help_is_better_than_none_and_than_too_much() -> None:
    """Of a blind pilot, who runs into the obstacle; the policy alone goes to a goal, half the time the wrong one."""
    found = [mcgen.sample(reaching("blind", step), 250, seed=SEED, batch_size=250) for step in (None, 8, 0)]
    alone, helped, without = (float(one.success.mean()) for one in found)
    # The rates are 0.16, 0.87 and 0.5, so that a false alarm is a deviation of more than five standard errors.
    assert helped - max(alone, without) > 0.15
    assert reaches_any(found[2].states[:, -1]).mean() > 0.9


def test_a_success_rate_is_a_proportion_and_a_gain_needs_shared_noise() -> None:
    alone, helped = reaching("blind", None), reaching("blind")
    options: dict[str, Any] = {"design": MonteCarlo(), "n_evaluations": 400, "seed": SEED, "batch_size": 400}

    def success(rollout: Any) -> np.ndarray:
        return rollout.success

    rate = mcgen.estimate(alone, success, **options)
    assert rate.method == "proportion"
    assert 0 < rate.interval.low < rate.mean < rate.interval.high < 0.4
    shared = [name for name, _ in alone.noise.blocks]
    gain = mcgen.difference(helped, alone, success, common_random_numbers=shared, **options)
    assert gain.interval.low > 0.5
    assert "start, pilot 1/hand, " in gain.provenance.models_noise
    assert gain.provenance.models_noise.endswith("... (68 more)")


def test_policies_may_be_of_torch_on_numpy_environments() -> None:
    linear = from_torch(
        lambda z, seen: GAIN * seen + JITTER * z, NoiseSpec.normal((1,), "float64"), name="torch policy"
    )
    episode, other = Episode(linear, Linear(), STEPS), Episode(gaussian_policy(), Linear(), STEPS)
    noise = drawn(episode, 10)
    assert np.allclose(episode(noise).states, other(noise).states, atol=1e-12)
    assert episode.noise == other.noise
    assert repr(episode).startswith("Episode(torch policy, 6 steps, noise=start: normal(1)")
    assert isinstance(Linear(), Environment)
    # The cost of a fit is counted in episodes, which run the policy at each step.
    assert episode.pilot_evaluations == 0
    linear.pilot_evaluations = 30.0
    assert episode.pilot_evaluations == 30 / STEPS


class WithoutEnd(Linear):
    ended = property()  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"policy": None}, ValueError, "needs a policy, a pilot or both; got neither"),
        ({"policy": len}, TypeError, "policy must satisfy mcgen.Generator"),
        ({"pilot": len}, TypeError, "pilot must satisfy mcgen.Generator"),
        (
            {"pilot": gaussian_policy("float32")},
            ValueError,
            "must have one type; got float64 in the policy and float32 in",
        ),
        ({"join": 3}, TypeError, "join must be a callable of action and observation; got 3"),
        ({"horizon": 0}, ValueError, "horizon must be at least 1 step; got 0"),
        ({"horizon": 2.0}, TypeError, "horizon must be an int; got 2.0"),
        ({"environment": Linear}, TypeError, "got .*Linear'> which is a class; give an object of it"),
        ({"environment": object()}, TypeError, "got .* without action_shape, start_noise, step_noise, start, step"),
        ({"environment": WithoutEnd()}, TypeError, "has the members action_shape, .* without ended"),
        ({"environment": (3, "start_noise")}, TypeError, r"start_noise .* must be an mcgen.Block, .*; got 3"),
        ({"environment": ((0,), "action_shape")}, ValueError, "every side of a noise shape must be at least 1"),
    ],
)
def test_what_an_episode_refuses(changes: dict[str, Any], error: type, message: str) -> None:
    given = {"policy": gaussian_policy(), "environment": Linear(), "horizon": 3} | changes
    if isinstance(given["environment"], tuple):
        value, name = given["environment"]
        given["environment"] = Linear()
        setattr(given["environment"], name, value)
    with pytest.raises(error, match=message):
        Episode(**given)


@pytest.mark.parametrize(
    ("method", "wrong", "message"),
    [
        ("start", lambda noise: noise[:1], r"Linear.start must return an array whose leading axis has the 4 rows"),
        ("start", lambda noise: 3.0, "rows of the batch; got float without a leading axis"),
        ("start", lambda noise: noise / 0, "states of .*Linear.start must be finite; got NaN or infinity in 4 of 4"),
        ("step", lambda *given: given[0] * np.nan, "states of .*Linear.step must be finite"),
        ("step", lambda *given: given[0][:, 0], r"Linear.step must return states of one shape, \(4, 1\); got \(4,\)"),
        ("observe", lambda state: state[1:], "Linear.observe must return an array whose leading axis"),
        (
            "ended",
            lambda state: state > 9,
            r"Linear.ended must return an array of bool, shape \(4,\), .*; got bool, sh",
        ),
        ("succeeded", lambda state: state[:, 0], "Linear.succeeded must return an array of bool, .*; got float64"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_environments_that_return_something_else_are_refused(method: str, wrong: Any, message: str) -> None:
    environment = Linear()
    setattr(environment, method, wrong)
    episode = Episode(gaussian_policy(), environment, 3)
    with pytest.raises(ValueError, match=message):
        episode(drawn(episode, 4))


def test_actions_and_noise_of_another_shape_are_refused() -> None:
    def episode(act: Any) -> Episode:
        return Episode(mcgen.as_generator(act, NoiseSpec.normal((1,), "float64"), name="bad"), Linear(), 3)

    flat, infinite = episode(lambda z, seen: z[:, 0]), episode(lambda z, seen: z + np.inf)
    with pytest.raises(ValueError, match=r"'bad' must make actions of shape \(4, 1\), .*; got \(4,\)"):
        flat(drawn(flat, 4))
    with pytest.raises(ValueError, match="actions of 'bad' must be finite; got NaN or infinity in 4 of 4 rows"):
        infinite(drawn(infinite, 4))
    good = Episode(gaussian_policy(), Linear(), 3)
    noise = drawn(good, 4)
    with pytest.raises(TypeError, match="takes no condition; got 3. Make an environment for each one"):
        good(noise, 3)
    with pytest.raises(TypeError, match="takes a mapping of the blocks of .*; got ndarray"):
        good(noise["start"])
    with pytest.raises(ValueError, match=r"block 'environment 2' .* must have shape \(4, 1\); got \(3, 1\)"):
        good(noise | {"environment 2": noise["start"][:3]})


def test_what_the_shipped_policy_and_its_pilots_refuse() -> None:
    with pytest.raises(ValueError, match="a pilot is one of expert, noisy, laggy, blind; got 'drunk'"):
        pilot("drunk")
    policy = models.load("reaching-policy", steps=2)
    noise = np.zeros((3, 2), np.float32)
    assert policy(noise, np.zeros(2)).shape == policy(noise, torch.zeros(3, 2)).shape == (3, 2)
    with pytest.raises(
        TypeError, match=r"needs an observation as its condition, .* shape \(2,\) or \(n, 2\); got None"
    ):
        policy(noise)
    with pytest.raises(
        ValueError, match=r"must have shape \(2,\) for all rows, or \(3, 2\) for one each; got \(4, 2\)"
    ):
        policy(noise, np.zeros((4, 2)))
