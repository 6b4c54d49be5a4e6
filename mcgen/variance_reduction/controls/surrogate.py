r"""Control variates: functions of the noise whose expectation is known, taken off replicate means.

With Y a replicate mean of the statistic and X that of q controls on the same noise, whose expectation :math:`\mu` is
known, :math:`Y - (X - \mu)'\beta` has the expectation of Y for every fixed :math:`\beta`, and the least variance at
:math:`\beta = \mathrm{Var}(X)^{-1} \mathrm{Cov}(X, Y)`, where it is :math:`1 - \rho^2` times that of Y for the multiple
correlation :math:`\rho`. Least squares on R replicates find that :math:`\beta` but for a loss of a factor of about
1 + q / R [1]_ [2]_; but coefficients from the very replicates that they correct bias the estimate. Two ways leave it
unbiased:

- `Controls.fit` has :math:`\beta` from a pilot apart from the run. The run then has R independent replicate means of
  smaller variance, and all that is true of those of any run: R - 1 degrees of freedom, every interval, streaming.
- Cross-fitting [3]_ (splitting in [1]_) cuts the run's replicates into 10 folds, r modulo 10, and corrects each by the
  coefficients of the other nine,

.. math:: e_r = Y_r - (X_r - \mu)'\, \hat\beta_{-f(r)}.

Since :math:`X_r` and :math:`\hat\beta_{-f(r)}` are independent, the mean of the e_r is unbiased; they are uncorrelated
but for terms of order 1 / R^2, so that their standard deviation over :math:`\sqrt R` is its standard error. Given the
X, the deviations of the e_r from their mean are linear in the R - 1 - q dimensional residuals of the regression on all
replicates (those of a fold, left out, are :math:`(I - H_{ff})^{-1}` times its own), so that Student's t has R - 1 - q
degrees of freedom, with q the rank of the controls. For normal means 95 % intervals covered 0.946 at R = 10, q = 1,
0.949 at R = 30, q = 3 and at R = 100, q = 10 in simulations; the e_r left-one-out gave the same. Where controls take
away most of a skewed statistic, what they leave is more skewed still, and less is covered: 0.69 for cosh of a normal
number at R = 30, q = 1, where pairs alone cover 0.86.

More controls than R / 10 are refused. A control that a design makes constant (antithetic pairs the odd ones) gets the
coefficient 0, and of linearly dependent ones least squares take the solution of least norm.

.. rubric:: References

.. [1] B. L. Nelson (1990). Control variate remedies. Oper. Res. 38(6), 974-992.
.. [2] S. S. Lavenberg, P. D. Welch (1981). A perspective on the use of control variables to increase the efficiency of
   Monte Carlo simulations. Management Science 27(3), 322-335.
.. [3] A. N. Avramidis, J. R. Wilson (1993). A splitting scheme for control variates. Oper. Res. Lett. 14(4), 187-198.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen._lib.names import name_of
from mcgen.errors import RunError
from mcgen.generators import Generator
from mcgen.generators.base import checked_generator
from mcgen.noise import Noise, NoiseSpec, noise_of
from mcgen.statistics import Statistic
from mcgen.statistics.values import checked_callable, values_of
from mcgen.variance_reduction.controls.control_variates import Controls, NoiseSpecFunction, n_points_of


def surrogate(
    generator: Generator, statistic: Statistic, mean: float | Sequence[float] | Floats, *, condition: Any = None
) -> Controls:
    """Return the statistic of a cheap generator's samples from the same noise, whose expectation is known.

    Its evaluations are not counted; its seconds are. Where the expectation is not known, `mcgen.multilevel` estimates
    it too.

    Parameters
    ----------
    generator : Generator
        On the noise of the generator that is estimated, or some of its blocks.
    statistic : callable
        As for `mcgen.estimate`; of each component is made a control.
    mean : float or array
        Its expectation under the surrogate, of the shape of its components.
    condition : object, optional
        Passed to the surrogate.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> fine = mcgen.as_generator(lambda z: np.exp(z / 4), noise=(16,), name="fine")
    >>> cheap = mcgen.as_generator(lambda z: 1 + z / 4 + z**2 / 32, noise=(16,), name="cheap")
    >>> mean = mcgen.statistics.pixel_mean
    >>> controls = mcgen.controls.surrogate(cheap, mean, 1 + 1 / 32)
    >>> mcgen.estimate(fine, mean, design=mcgen.Antithetic(), n_evaluations=640, seed=0, controls=controls)
    1.031729 ± 0.000020 (95 % Student t, 320 replicates of 2 points, Antithetic(), seed 0, controls)
    """
    text = f"surrogate({name_of(statistic)} of {name_of(checked_generator(generator))})"
    function = _Surrogate(generator, checked_callable(statistic), np.shape(mean), condition)
    try:
        expected = tuple(np.asarray(mean, np.float64).ravel().tolist())
    except (TypeError, ValueError):
        expected = ()
    return Controls(function, expected, (), text)


@dataclass(frozen=True, eq=False)
class _Surrogate(NoiseSpecFunction):
    """The statistic of a cheap generator's samples from the same noise, or some of its blocks."""

    generator: Generator
    statistic: Statistic
    shape: tuple[int, ...]
    condition: Any

    def check(self, spec: NoiseSpec) -> None:
        own = self.generator.noise
        fits = own == spec if len(spec.blocks) == 1 else {*own.blocks} <= {*spec.blocks}
        if own.dtype != spec.dtype or not fits:
            raise ValueError(
                f"the surrogate {name_of(self.generator)!r} must take the noise of the generator that is estimated, or "
                f"some of its blocks by the same names, shapes, laws and dtype: {spec}; got {own}"
            )

    def __call__(self, noise: Noise, spec: NoiseSpec) -> Floats:
        n = n_points_of(noise)
        own = noise_of(self.generator.noise, noise) if len(self.generator.noise.blocks) < len(spec.blocks) else noise
        values = values_of(self.statistic, self.generator(own, self.condition), n)
        if values.shape[1:] != self.shape:
            raise RunError(
                f"statistic {name_of(self.statistic)!r} of the surrogate {name_of(self.generator)!r} returned "
                f"components of shape {values.shape[1:]}; the expectation that was given has shape {self.shape}"
            )
        flat: Floats = values.reshape(n, -1)
        return flat
