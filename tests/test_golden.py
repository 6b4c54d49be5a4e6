"""Results that no change of layout may change: one of each kind, bit for bit, with the names of every public face.

``MCGEN_GOLDEN=write python -m pytest tests/test_golden.py`` writes the file anew, after a change that is meant.
The model has exactly rounded operations alone. Noise passes through the inverse normal distribution function, whose
last bits depend on the processor and on scipy: elsewhere the numbers are compared to twelve digits.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy

import mcgen
from mcgen import controls, statistics
from mcgen._lib.serialization import from_plain, to_plain
from mcgen.replicates.stores.store import Store
from mcgen.results.saved import estimate_to_plain

pytestmark = pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")

FILE = Path(__file__).parent / "golden" / "results.json"
VERSIONED = ("seconds", "seconds_per_evaluation", "timing_error", "versions")
MANY = 1 + 2**7


def rational(z: Any, condition: float = 0.0) -> Any:
    """A model of additions, multiplications and divisions: z / (1 + z^2) + z^2 / 8, tilted by a condition."""
    return z / (1 + z * z) + z * z / 8 + condition * z


def rough(z: Any, condition: float = 0.0) -> Any:
    return z / (1 + z * z) + condition * z


def spread(samples: Any) -> Any:
    """Two components: the mean of a sample, and its largest value less its smallest."""
    return np.stack([samples.sum(1) / samples.shape[1], samples.max(1) - samples.min(1)], axis=1)


def positive(samples: Any) -> Any:
    return samples[:, 0] > 0.2


model = mcgen.as_generator(rational, noise=(8,), name="rational")
coarse = mcgen.as_generator(rough, noise=(8,), name="rough")
blocks = mcgen.as_generator(
    lambda z: z["start"] / (1 + z["steps"].sum(1, keepdims=True) ** 2),
    noise=mcgen.NoiseSpec(
        (("start", mcgen.Block((4,), "normal")), ("steps", mcgen.Block((3,), "uniform"))), dtype="float32"
    ),
    name="blocks",
)
basis = mcgen.bases.dct_basis(model.noise, 3)
quadratic = controls.quadratic(basis)

DESIGNS = [
    *(mcgen.MonteCarlo(), mcgen.Antithetic(), mcgen.KAntithetic(4), mcgen.LatinHypercube(16)),
    *(mcgen.OrthogonalAntithetic(16), mcgen.Sobol(16), mcgen.Subspace(basis, leading=mcgen.Sobol(16))),
]
INTERVALS = ["student-t", "normal", "skewness-safe-t", "skewness-adjusted-t", "bootstrap-t", "anytime"]
INTERVALS += ["asymptotic-anytime"]


def run(**changes: Any) -> mcgen.Estimate:
    options: dict[str, Any] = {"design": mcgen.Antithetic(), "n_evaluations": 960, "seed": 7} | changes
    if "atol" in options or "n_replicates" in options:
        options.pop("n_evaluations")
    return mcgen.estimate(options.pop("generator", model), options.pop("statistic", spread), **options)


CASES: dict[str, Callable[[], Any]] = {
    **{f"design {design}": lambda design=design: run(design=design) for design in DESIGNS},
    **{f"blocks {design}": lambda design=design: run(design=design, generator=blocks) for design in DESIGNS[:4]},
    **{f"interval {kind}": lambda kind=kind: run(interval=kind) for kind in INTERVALS},
    **{
        f"simultaneous {kind}": lambda kind=kind: run(simultaneous=kind)
        for kind in ("skewness-safe", "bonferroni", "bootstrap-max-t", "gaussian-multiplier")
    },
    "indicator": lambda: run(statistic=positive),
    "stack": lambda: run(statistic=statistics.stack(statistics.pixel_mean, positive)),
    "many components": lambda: run(statistic=statistics.identity, generator=mcgen.as_generator(rational, (MANY,))),
    "without replicate means": lambda: run(keep_replicates=False),
    "a replicate above a batch": lambda: run(design=mcgen.Sobol(64), batch_size=24, n_replicates=30),
    "a part": lambda: run(n_replicates=None, n_evaluations=None, replicates=range(100, 300)),
    "condition": lambda: run(condition=0.5),
    "conditions": lambda: run(condition=[0.5, 1.0], weights=[0.25, 0.75]),
    "named conditions": lambda: run(condition={"low": 0.5, "high": 1.0}),
    "simultaneous conditions": lambda: run(condition=[0.5, 1.0], simultaneous=True),
    "common noise": lambda: run(condition=[0.5, 1.0], common_random_numbers=True),
    "controls": lambda: run(controls=quadratic),
    "fitted controls": lambda: run(
        controls=quadratic.fit(model, spread, design=mcgen.Antithetic(), n_evaluations=400, seed=3)
    ),
    "tolerance": lambda: run(atol=0.02),
    "tolerance at any time": lambda: run(atol=0.03, interval="anytime"),
    "a limit": lambda: run(atol=0.001, max_evaluations=1000),
    "levels": lambda: mcgen.multilevel([(coarse, 1), (model, 10)], spread, n_evaluations=1600, seed=7),
    "levels under conditions": lambda: mcgen.multilevel(
        [(coarse, 1), (model, 10)], spread, n_evaluations=1600, seed=7, condition=[0.5, 1.0]
    ),
    "difference": lambda: mcgen.difference(model, coarse, spread, design=mcgen.Antithetic(), n_evaluations=960, seed=7),
    "auto": lambda: run(design="auto", n_evaluations=3200),
    "auto with a coarse generator": lambda: run(design=mcgen.Auto(coarse=[(coarse, 0.1)]), n_evaluations=3200),
    "auto by rule": lambda: run(design=mcgen.Auto(coarse=[(coarse, 0.1)], correlation=0.9), n_evaluations=640),
    "plan": lambda: mcgen.plan(model, spread, n_evaluations=3200, seed=7).estimate(),
}


def plain(result: Any) -> Any:
    """A result as JSON knows it, without what differs from run to run."""

    def stripped(value: Any) -> Any:
        if isinstance(value, list):
            return [stripped(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "base64" in value:
            numbers = from_plain(value)
            return {
                "sha256": sha256(numbers.tobytes()).hexdigest(),
                "mean": float(numbers.mean()),
                "size": numbers.size,
            }
        return {name: stripped(item) for name, item in value.items() if name not in VERSIONED}

    return json.loads(json.dumps(stripped(to_plain(estimate_to_plain(result)))))


def comparison() -> list[Any]:
    table = mcgen.compare(model, spread, designs=[mcgen.MonteCarlo(), mcgen.Sobol(16)], n_evaluations=960, seed=7)
    return [plain(one) for one in table.estimates]


def header(folder: Path) -> dict[str, Any]:
    """What a store belongs to, but for versions; code has another text in another version of Python."""
    path = folder / "run.sqlite"
    named = mcgen.as_generator(rational, noise=(8,), name="rational", fingerprint="rational")
    run(generator=named, statistic=statistics.pixel_mean, condition=[0.5, 1.0], controls=quadratic, store=path)
    with Store.open_read(path) as store:
        found = json.loads(json.dumps(store.header))
    return {name: value for name, value in found.items() if name not in ("mcgen", "python", "numpy", "scipy", "torch")}


def public_names() -> dict[str, list[str]]:
    import mcgen.validation

    faces = {"mcgen": mcgen, "mcgen.validation": mcgen.validation}
    rooms = {
        "bases": mcgen.bases,
        "controls": mcgen.controls,
        "intervals": mcgen.intervals,
        "plots": mcgen.plots,
        "statistics": statistics,
    }
    found = {name: sorted(face.__all__) for name, face in faces.items()}
    for name, room in rooms.items():
        own = getattr(room, "__all__", None) or [one for one in vars(room) if not one.startswith("_")]
        found[f"mcgen.{name}"] = sorted(
            one for one in own if getattr(vars(room)[one], "__module__", "mcgen") != "typing"
        )
    return found


def environment() -> str:
    """What the last bits depend on."""
    config: Any = np.show_config(mode="dicts")
    return (
        f"numpy {np.__version__}, scipy {scipy.__version__}, {platform.machine()}, {config['SIMD Extensions']['found']}"
    )


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    if os.environ.get("MCGEN_GOLDEN") == "write":
        return {"environment": environment()}
    found: dict[str, Any] = json.loads(FILE.read_text())
    return found


# Multiplies float32 noise by a basis: the last bits depend on the kernels that BLAS picks for the processor, which the
# environment does not tell.
ROUNDED = {"auto with a coarse generator"}


def require_same(golden: dict[str, Any], name: str, found: Any) -> None:
    if os.environ.get("MCGEN_GOLDEN") == "write":
        golden[name] = found
        FILE.write_text(json.dumps(golden, indent=0, sort_keys=True) + "\n")
        return
    if name in ROUNDED:
        assert_close(found, golden[name], 3e-6)
    elif golden["environment"] == environment():
        assert found == golden[name]
    else:
        assert_close(found, golden[name], 1e-9)


def assert_close(found: Any, expected: Any, tolerance: float) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            if name != "sha256":
                assert_close(found[name], value, tolerance)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other, tolerance)
    elif isinstance(expected, float) and isinstance(found, float):
        assert math.isclose(found, expected, rel_tol=tolerance, abs_tol=tolerance / 1000)
    else:
        assert found == expected


@pytest.mark.parametrize("case", CASES)
def test_results(case: str, golden: dict[str, Any]) -> None:
    require_same(golden, case, plain(CASES[case]()))


def test_comparisons(golden: dict[str, Any]) -> None:
    require_same(golden, "comparison", comparison())


def test_headers_of_stores(golden: dict[str, Any], tmp_path: Path) -> None:
    require_same(golden, "header", header(tmp_path))


def test_public_names(golden: dict[str, Any]) -> None:
    require_same(golden, "names", public_names())


def test_another_number_would_be_seen(golden: dict[str, Any]) -> None:
    """The negative control."""
    if os.environ.get("MCGEN_GOLDEN") == "write":
        return
    other = plain(run(seed=8))
    with pytest.raises(AssertionError):
        require_same(golden, "design Antithetic()", other)
    with pytest.raises(AssertionError):
        assert_close(other, golden["design Antithetic()"], 3e-6)
