"""Control variates: functions of the noise with known expectations, which take variance away."""

from mcgen.variance_reduction.controls.control_variates import Controls, FittedControls
from mcgen.variance_reduction.controls.kernel import KernelControl, kernel
from mcgen.variance_reduction.controls.quadratic import quadratic
from mcgen.variance_reduction.controls.surrogate import surrogate

__all__ = ["Controls", "FittedControls", "KernelControl", "kernel", "quadratic", "surrogate"]
