r"""Bases for `mcgen.Subspace`: from gradients, from values, and fixed ones.

A statistic S(z) of standard normal noise may owe most of its variance to few directions. They are the leading
eigenvectors of :math:`C = E[\nabla S\, \nabla S']`, the active subspace [1]_: by the Poincaré inequality the part of S
that moves across the first r of them has a variance of at most the sum of the other eigenvalues. With n gradients as
rows of A, C is A'A / n, whose eigenvectors are A'u for those u of the n x n matrix A A'; no d x d matrix is made. A
statistic of k components has k gradients at each z, each component's divided by their root mean square, so that all
components count alike. Few outliers would pull the directions to themselves: norms above a quantile are scaled down to
it.

Without gradients Stein's identity [2]_ has them from values: :math:`E[z\, S(z)] = E[\nabla S]` is one direction a
component, to which only the odd part (S(z) - S(-z)) / 2 counts, and :math:`E[(z z' - I)\, S(z)] = E[\nabla^2 S]`, the
principal Hessian directions [3]_, to which only the even part does.

The pilot's random numbers are those of the stream ("pilot", ...), apart from every run's. Uniform noise u counts by its
normal score :math:`x = \Phi^{-1}(u)`, with :math:`dS/dx = \varphi(x)\, dS/du`. Blocks that are i.i.d. have no
directions.

.. rubric:: References

.. [1] P. G. Constantine, E. Dow, Q. Wang (2014). Active subspace methods in theory and practice: applications to
   kriging surfaces. SIAM J. Sci. Comput. 36(4), A1500-A1524.
.. [2] C. M. Stein (1981). Estimation of the mean of a multivariate normal distribution. Ann. Statist. 9(6), 1135-1151.
.. [3] K.-C. Li (1992). On principal Hessian directions for data visualization and dimension reduction: another
   application of Stein's lemma. J. Amer. Statist. Assoc. 87(420), 1025-1039.
"""
