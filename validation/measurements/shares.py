"""Which noise the variance of a shipped diffusion model is due to: the start, or the noise of early and late steps."""

from __future__ import annotations

from pathlib import Path

import mcgen
from mcgen.analysis import VarianceShares, variance_shares
from mcgen.validation.writing.markdown import fill_page, made_by, require_marks

PAGE, MARK = "explanation/antithetic.md", "variance shares"
_SEED = 0
_REPLICATES = 300
_THIRDS = {
    "start": "start",
    "steps 1 to 3": ["step 1", "step 2", "step 3"],
    "steps 4 to 6": ["step 4", "step 5", "step 6"],
    "steps 7 to 9": ["step 7", "step 8", "step 9"],
}


def measured() -> VarianceShares:
    """Return the shares of mnist-ddpm with 10 ancestral steps, of brightness and contrast."""
    from mcgen.adapters import models

    statistic = mcgen.statistics.stack(mcgen.statistics.brightness, mcgen.statistics.contrast)
    # 4 points, and 2 for each part.
    evaluations = _REPLICATES * (4 + 2 * len(_THIRDS))
    model = models.load("mnist-ddpm", steps=10, eta=1.0)
    return variance_shares(model, statistic, n_evaluations=evaluations, seed=_SEED, blocks=_THIRDS, coordinates=0)


def write_picture(folder: Path) -> None:
    """Measure, and write the picture and the table of the page; that takes about a minute of computing.

    Raises
    ------
    OSError, ValueError
        If the page is not there or has no mark; nothing has been measured then.
    """
    require_marks(folder / PAGE, (MARK,))
    found = measured()
    print(found)
    (folder / "images").mkdir(exist_ok=True)
    found.plot().savefig(folder / "images" / "mnist-ddpm-shares.png")
    note = made_by("python -m mcgen.validation shares", _SEED)
    fill_page(folder / PAGE, {MARK: f"{found.to_markdown()}\n\n{note}"})
