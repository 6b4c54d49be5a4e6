r"""Directions of the noise on which a statistic depends most: from gradients, from values, or fixed cosines.

A statistic S(z) of standard normal noise may owe most of its variance to few directions. With gradients these are the
leading eigenvectors of :math:`C = E[\nabla S\, \nabla S']`, the active subspace [1]_. By the Poincaré inequality the
part of S that varies across the first r of them has a variance of at most the sum of the other eigenvalues. Let the
rows of A be n gradients. Then C is estimated by A'A / n, whose eigenvectors are A'u for the eigenvectors u of the n x n
matrix A A', so that no d x d matrix is made. A statistic of k components has k gradients at each z. Those of each
component are divided by their root mean square, so that all components have the same weight. Norms above a quantile
are scaled down to it, so that few outliers do not set the directions.

Without gradients Stein's identity [2]_ gives them from values. :math:`E[z\, S(z)] = E[\nabla S]` is one direction for
each component, and depends only on the odd part (S(z) - S(-z)) / 2. :math:`E[(z z' - I)\, S(z)] = E[\nabla^2 S]` gives
the principal Hessian directions [3]_, and depends only on the even part.

The pilot's random numbers come from the stream ("pilot", ...), which no run uses. Uniform noise u is represented by its
normal score :math:`x = \Phi^{-1}(u)`, with :math:`dS/dx = \varphi(x)\, dS/du`. Blocks that are i.i.d. have no
directions.

.. rubric:: References

.. [1] P. G. Constantine, E. Dow, Q. Wang (2014). Active subspace methods in theory and practice: applications to
   kriging surfaces. SIAM J. Sci. Comput. 36(4), A1500-A1524.
.. [2] C. M. Stein (1981). Estimation of the mean of a multivariate normal distribution. Ann. Statist. 9(6), 1135-1151.
.. [3] K.-C. Li (1992). On principal Hessian directions for data visualization and dimension reduction: another
   application of Stein's lemma. J. Amer. Statist. Assoc. 87(420), 1025-1039.
"""
