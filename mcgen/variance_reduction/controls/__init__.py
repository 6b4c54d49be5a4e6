r"""Control variates: functions of the noise with known expectations, which are subtracted from replicate means.

Let Y be a replicate mean of the statistic, and X that of q controls on the same noise with known expectation
:math:`\mu`. For every fixed :math:`\beta`, :math:`Y - (X - \mu)'\beta` has the expectation of Y. Its variance is least
at :math:`\beta = \mathrm{Var}(X)^{-1} \mathrm{Cov}(X, Y)`, where it is :math:`1 - \rho^2` times that of Y, with
:math:`\rho` the multiple correlation. Least squares on R replicates estimate that :math:`\beta` and lose a factor of
about 1 + q / R [1]_ [2]_. But coefficients from the same replicates that they correct bias the estimate. Two ways keep
it unbiased:

- `Controls.fit` estimates :math:`\beta` in a pilot apart from the run. The run then has R independent replicate means
  of smaller variance, with the properties of any run: R - 1 degrees of freedom, every interval, streaming.
- Cross-fitting [3]_ (splitting in [1]_) divides the run's replicates into 10 folds, r modulo 10. Each fold f is
  corrected by the coefficients :math:`\hat\beta_{-f}` of the other nine,

.. math:: e_r = Y_r - (X_r - \mu)'\, \hat\beta_{-f(r)}.

Since :math:`X_r` and :math:`\hat\beta_{-f(r)}` are independent, the mean of the e_r is unbiased. The e_r are
uncorrelated but for terms of order 1 / R^2, so that the standard error is their standard deviation over
:math:`\sqrt R`. Given the X, the deviations of the e_r from their mean are linear in the residuals of the regression
on all replicates: those of a fold, left out, are :math:`(I - H_{ff})^{-1}` times its own. These residuals have
R - 1 - q dimensions, so that Student's t has R - 1 - q degrees of freedom, with q the rank of the controls. In
simulations with normal means, 95 % intervals covered 0.946 at R = 10, q = 1, 0.949 at R = 30, q = 3, and 0.949 at
R = 100, q = 10. Leaving out one replicate at a time gave the same. If controls remove most of a skewed statistic, the
residuals are more skewed still, and intervals cover less: 0.69 for cosh of a normal number at R = 30, q = 1, where
pairs alone cover 0.86.

A kernel regression of the pair means on the noise is a control that needs no form beforehand; `kernel_regression` has
its mathematics.

More controls than R / 10 are refused. A control that a design makes constant, as antithetic pairs do with odd ones,
gets the coefficient 0. For linearly dependent controls least squares take the solution of least norm.

.. rubric:: References

.. [1] B. L. Nelson (1990). Control variate remedies. Oper. Res. 38(6), 974-992.
.. [2] S. S. Lavenberg, P. D. Welch (1981). A perspective on the use of control variables to increase the efficiency of
   Monte Carlo simulations. Management Science 27(3), 322-335.
.. [3] A. N. Avramidis, J. R. Wilson (1993). A splitting scheme for control variates. Oper. Res. Lett. 14(4), 187-198.
"""
