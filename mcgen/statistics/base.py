"""The type of a statistic, and what its values must be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Statistic = Callable[[Any], Any]
