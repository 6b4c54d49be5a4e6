"""Plug-in values are those that pytorch-fid, torch-fidelity and clean-fid print for the same features.

These packages import torchvision, which is not installed; while they are imported, an empty stand-in takes its place.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
import types
from collections.abc import Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder

import numpy as np
import pytest
from helpers import SEED

torch = pytest.importorskip("torch")

from mcgen import functionals  # noqa: E402

# d features of n samples of a model, and of a reference of N.
SHAPES = [(8, 100, 120), (64, 300, 500), (32, 20, 200)]


class StandIn(types.ModuleType):
    """A module whose classes are empty torch modules, and whose other names are modules like it."""

    __path__: Sequence[str] = ()

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        if name[0].isupper():
            return type(name, (torch.nn.Module,), {})
        return importlib.import_module(f"{self.__name__}.{name}")


class Finder(MetaPathFinder, Loader):
    """Finds `StandIn` for torchvision and all that is in it."""

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        found = name.partition(".")[0] == "torchvision"
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if found else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> StandIn:
        return StandIn(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        return


@pytest.fixture
def without_torchvision(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A stand-in for torchvision; what was imported with it is forgotten."""
    before = set(sys.modules)
    finder = Finder()
    sys.meta_path.insert(0, finder)
    yield
    sys.meta_path.remove(finder)
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("torchvision", "pytorch_fid", "torch_fidelity", "cleanfid"):
            del sys.modules[name]


@pytest.fixture(params=SHAPES, ids=str)
def features(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    """Features of a model and of a reference; with fewer samples than features the covariance is singular."""
    d, n, n_reference = request.param
    rng = np.random.default_rng(SEED)
    mixing = rng.standard_normal((d, d)) / np.sqrt(d)
    model = np.maximum(rng.standard_normal((n, d)) @ mixing, 0)
    return model, 0.2 + rng.standard_normal((n_reference, d)) @ mixing


def plug_in(features: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
    """Return the distance, and the largest difference that rounding explains."""
    model, reference = features
    traces = model.var(axis=0).sum() + reference.var(axis=0).sum()
    return functionals.frechet_distance(reference).plug_in(model), 1e-6 * traces


@pytest.mark.filterwarnings("ignore:.*disp:DeprecationWarning")
def test_pytorch_fid(without_torchvision: None, features: tuple[np.ndarray, np.ndarray]) -> None:
    score = pytest.importorskip("pytorch_fid.fid_score")
    moments = [(one.mean(axis=0), np.cov(one, rowvar=False)) for one in features]
    expected = score.calculate_frechet_distance(*moments[0], *moments[1])
    found, rounding = plug_in(features)
    assert found == pytest.approx(expected, rel=1e-6, abs=rounding)


def test_torch_fidelity(without_torchvision: None, features: tuple[np.ndarray, np.ndarray]) -> None:
    metric = pytest.importorskip("torch_fidelity.metric_fid")
    statistics = [metric.fid_features_to_statistics(torch.as_tensor(one)) for one in features]
    expected = metric.fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    found, rounding = plug_in(features)
    assert found == pytest.approx(expected, rel=1e-6, abs=rounding)


@pytest.mark.parametrize("fixed", [True, False])
def test_torch_fidelity_kernel(without_torchvision: None, features: tuple[np.ndarray, np.ndarray], fixed: bool) -> None:
    metric = pytest.importorskip("torch_fidelity.metric_kid")
    model, reference = features
    n = min(len(model), len(reference))
    model, reference = model[:n], reference[:n]
    expected = metric.kernel_mmd(
        model,
        reference,
        kid_kernel="poly",
        kid_kernel_poly_degree=3,
        kid_kernel_poly_gamma=None,
        kid_kernel_poly_coef0=1.0,
    )
    score = functionals.kernel_distance(functionals.reference(reference, fixed=fixed))
    assert score.plug_in(model) == pytest.approx(expected, rel=1e-9)


def test_clean_fid_kernel(without_torchvision: None, features: tuple[np.ndarray, np.ndarray]) -> None:
    fid = pytest.importorskip("cleanfid.fid")
    model, reference = features
    n = min(len(model), len(reference))
    # One subset is everything.
    expected = fid.kernel_distance(reference[:n], model[:n], num_subsets=1, max_subset_size=n)
    assert functionals.kernel_distance(reference[:n]).plug_in(model[:n]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.filterwarnings("ignore:.*disp:DeprecationWarning")
def test_clean_fid(without_torchvision: None, features: tuple[np.ndarray, np.ndarray]) -> None:
    fid = pytest.importorskip("cleanfid.fid")
    moments = [(one.mean(axis=0), np.cov(one, rowvar=False)) for one in features]
    expected = fid.frechet_distance(*moments[0], *moments[1])
    found, rounding = plug_in(features)
    assert found == pytest.approx(expected, rel=1e-6, abs=rounding)
