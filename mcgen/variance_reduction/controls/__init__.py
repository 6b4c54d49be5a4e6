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
