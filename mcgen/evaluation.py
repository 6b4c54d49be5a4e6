"""`evaluate`: several models by several scores, each number with its interval, from one pass over each model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen._lib.names import name_of
from mcgen.designs import Antithetic, Design, MonteCarlo
from mcgen.designs._base import checked_design
from mcgen.errors import CoverageWarning, held_warnings, warn_user, with_partial
from mcgen.estimation import _batch_size, _checked_conditions, _checked_count, _checked_options
from mcgen.functionals.base import Evaluated
from mcgen.generators import Generator
from mcgen.generators.base import checked_generator
from mcgen.generators.finished import FinishedSamples
from mcgen.noise import agree_in_order
from mcgen.replicates.sizes import Conditions, conditions_of, with_points
from mcgen.replicates.task import Estimand, Task, estimand_of
from mcgen.results.estimate import Estimate
from mcgen.results.provenance import INDEPENDENT_NOISE
from mcgen.results.scorecard import Scorecard
from mcgen.results.sums import weighted_sum
from mcgen.runs.arguments import RunArguments, checked_arguments, showing_arguments
from mcgen.runs.conditions import run_each
from mcgen.runs.execution import run as run_task
from mcgen.runs.header import header_of, opened
from mcgen.runs.options import RunOptions
from mcgen.runs.outcome import Outcome, single_estimate
from mcgen.runs.population import checked_population
from mcgen.runs.scores import parts_of_score, require_size, with_fewest_values, with_functional
