"""What mcgen promises, shown: problems with known truth, coverage, speed."""

from __future__ import annotations

if __name__ != "mcgen.validation":
    raise ImportError(f"this package was imported as {__name__!r}; import it as 'mcgen.validation'")
