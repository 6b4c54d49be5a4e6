"""The soak test in short: runs that are killed and damaged, and go on."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import SEED

from mcgen.validation.measurements import soak

pytestmark = pytest.mark.filterwarnings("ignore:.*the replicate means")


def test_killed_and_resumed(tmp_path: Path) -> None:
    found = soak.killed_and_resumed(tmp_path, kills=5, seed=SEED, longest=1.5)
    assert found.holds, found
    assert found.times == 5


@pytest.mark.parametrize("fault", soak.FAULTS)
def test_damaged(fault: str, tmp_path: Path) -> None:
    found = soak.damaged(tmp_path, times=12, seed=SEED, fault=fault)
    assert found.holds, found


def test_no_room(tmp_path: Path) -> None:
    found = soak.disk_full(tmp_path, times=2, seed=SEED)
    assert found.holds, found


def test_coordinator_killed(tmp_path: Path) -> None:
    found = soak.coordinator_killed(tmp_path, kills=1, seed=SEED)
    assert found.holds, found


def test_another_number_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = soak.undisturbed(64)
    monkeypatch.setattr(soak, "components", lambda samples: samples[:, :4])
    assert soak.run(tmp_path, 64) != right
