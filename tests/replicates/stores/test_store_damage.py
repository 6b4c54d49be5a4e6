"""Damaged stores: an error or what was stored, bit for bit; never another number, never a new beginning in silence."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from helpers import SEED
from store_parts import FACTS, HEADER, finished, truth
from test_stores import same, tallied

from mcgen.errors import StoreError
from mcgen.inference.moments import ReplicateMeans
from mcgen.replicates.stores.encoding import pack
from mcgen.replicates.stores.store import Store
from mcgen.replicates.summation import LEAF
from mcgen.replicates.tally import segments_of
from mcgen.replicates.task import Facts

N = 24 * LEAF
PAGE = 4096
NAMES = ("moments", "rows")
PILOT = {"n": 1, "numbers": [0.1, 0.2]}
ROWS = truth(N)


@dataclass
class Stored:
    """Files of a store: closed, and as a process that was killed leaves them, with a log."""

    closed: bytes
    main: bytes
    log: bytes


def fill(path: Path, first: int, last: int, rows: ReplicateMeans = ROWS) -> None:
    """Add a range of replicates to the runs of a store, and copy its files before it is closed."""
    with Store(path, HEADER) as store:
        for name, step in zip(NAMES, (LEAF, 40), strict=True):
            run = store.run(name)
            run.remember("pilot", PILOT)
            for start in range(first, last, step):
                run.add(finished(rows, start, min(start + step, last), keep=name == "rows"), keep=name == "rows")
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{path}.copy{suffix}")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """A store closed once, and killed when it had twice as much."""
    path = tmp_path_factory.mktemp("whole") / "run.sqlite"
    fill(path, 0, N // 4)
    closed = path.read_bytes()
    fill(path, N // 4, N // 2)
    copy = path.with_name("run.sqlite.copy")
    return Stored(closed, copy.read_bytes(), copy.with_name(copy.name + "-wal").read_bytes())


def write(path: Path, main: bytes, log: bytes | None = None) -> None:
    for suffix in ("-wal", "-shm", "-lock", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.write_bytes(main)
    if log is not None:
        path.with_name(path.name + "-wal").write_bytes(log)


def verdict(use: Callable[[], Store]) -> int:
    """How many replicates a damaged store still has, all of them right; -1 where it is refused."""
    total = 0
    try:
        with use() as store:
            assert store.header == HEADER
            for name in store.run_names():
                run = store.run(name)
                covered = run.covered()
                assert all(same(segment, ROWS) for part in covered for segment in run.segments(part))
                assert run.facts in (None, FACTS)
                assert run.recall("pilot") in (None, PILOT)
                total += sum(map(len, covered))
    except StoreError as error:
        return -1 if any(word in str(error) for word in ("damaged", "not a store", "newer version", "can't be")) else -2
    return total


def test_undamaged_stores_are_whole(stored: Stored, tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    write(path, stored.closed)
    assert verdict(lambda: Store.open_read(path)) == N // 2
    write(path, stored.main, stored.log)
    assert verdict(lambda: Store.open_read(path)) == N
    assert verdict(lambda: Store(path, HEADER)) == N


def test_truncated(stored: Stored, tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    numbers = np.random.default_rng(SEED)
    size = len(stored.closed)
    lengths = [0, 1, 15, 16, 50, 99, 100, 511, 512, 4095, *range(PAGE, size, PAGE), size - 1]
    for length in (*lengths, *numbers.integers(0, size, 40).tolist()):
        write(path, stored.closed[:length])
        # The end of a file may be of no use.
        assert verdict(lambda: Store.open_read(path)) in ((-1, N // 2) if length > size - 2 * PAGE else (-1,))
    for length in lengths[:12]:
        write(path, stored.closed[:length])
        with pytest.raises(StoreError, match=r"damaged|not a store"):
            Store(path, HEADER)
        # What there was is left for who would save it.
        assert path.read_bytes()[:length] == stored.closed[:length]


def test_truncated_log(stored: Stored, tmp_path: Path) -> None:
    """A log that ends early, or is lost, loses the last ranges, which are run again."""
    path = tmp_path / "run.sqlite"
    lengths = [0, 1, 31, 32, 100, *np.random.default_rng(SEED).integers(0, len(stored.log), 60).tolist()]
    found = []
    for length in sorted(lengths):
        write(path, stored.main, stored.log[:length])
        found.append(verdict(lambda: Store.open_read(path)))
    assert found[0] == N // 2
    assert found == sorted(found)
    assert len(set(found)) > 20
    write(path, stored.main)
    assert verdict(lambda: Store.open_read(path)) == N // 2


def flipped(content: bytes, place: int, bits: int) -> bytes:
    return content[:place] + bytes([content[place] ^ bits]) + content[place + 1 :]


def test_flipped_bits_of_the_file(stored: Stored, tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    numbers = np.random.default_rng(SEED)
    places = [*range(0, 120), *numbers.integers(0, len(stored.closed), 500).tolist()]
    found = []
    for place in places:
        write(path, flipped(stored.closed, place, int(numbers.integers(1, 256))))
        found.append(verdict(lambda: Store.open_read(path)))
    # Nothing depends on some bytes; where a run, its state or a range were lost, they would be run again.
    assert found.count(-1) > len(places) / 2
    assert max(found) == N // 2


def test_flipped_bits_of_the_log(stored: Stored, tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    numbers = np.random.default_rng(SEED)
    places = [*range(0, 60), *numbers.integers(0, len(stored.log), 150).tolist()]
    found = []
    for place in places:
        write(path, stored.main, flipped(stored.log, place, int(numbers.integers(1, 256))))
        found.append(verdict(lambda: Store.open_read(path)))
    assert all(N // 2 <= total <= N for total in found)


def test_pages_of_zeros(stored: Stored, tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    found = []
    for first in range(0, len(stored.closed), PAGE):
        write(path, stored.closed[:first] + bytes(PAGE) + stored.closed[first + PAGE :])
        found.append(verdict(lambda: Store.open_read(path)))
    # Nothing depends on free pages.
    assert set(found) <= {-1, N // 2}
    assert found.count(-1) > len(found) / 2


def test_an_older_copy_beside_a_newer_log(stored: Stored, tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    for main, log in ((stored.closed, stored.log), (stored.closed[: len(stored.closed) // 2], stored.log)):
        write(path, main, log)
        assert verdict(lambda: Store.open_read(path)) in (-1, N // 2, N)


def test_the_log_of_another_run(stored: Stored, tmp_path: Path) -> None:
    """Its pages fit in the file, and its rows are those of another seed."""
    other = tmp_path / "other.sqlite"
    header = HEADER | {"seed": 1}
    rows = truth(N, counts=False)
    with Store(other, header) as store:
        for name in NAMES:
            run = store.run(name)
            for start in range(0, N // 2, LEAF):
                run.add(finished(rows, start, start + LEAF), keep=False)
        log = Path(f"{other}-wal").read_bytes()
    path = tmp_path / "run.sqlite"
    write(path, stored.closed, log)
    with pytest.raises(StoreError, match="damaged|another run"):
        Store(path, HEADER)


def test_what_is_left_of_a_damaged_store_resumes_right(stored: Stored, tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    numbers = np.random.default_rng(SEED)
    whole = {name: tallied(segments_of([ROWS[: N // 2]], name == "rows")) for name in NAMES}
    resumed = 0
    for _ in range(25):
        if resumed % 2:
            write(path, flipped(stored.closed, int(numbers.integers(0, len(stored.closed))), 1))
        else:
            write(path, stored.main, stored.log[: numbers.integers(0, len(stored.log))])
        if verdict(lambda: Store(path, HEADER)) < 0:
            continue
        resumed += 1
        with Store(path, HEADER) as store:
            for name in NAMES:
                run, keep = store.run(name), name == "rows"
                there = {i for part in run.covered() for i in part}
                for first in range(0, N // 2, 8):
                    if first not in there:
                        run.add(finished(ROWS, first, first + 8, keep), keep)
                assert tallied(run.segments(range(N // 2))) == whole[name]
    assert resumed > 5


def test_damage_while_it_is_open_is_seen(stored: Stored, tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    write(path, stored.closed)
    place = stored.closed.rindex(pack(ROWS[:LEAF])[:200])
    with Store.open_read(path) as store:
        store.database.execute("PRAGMA cache_size = 0")
        with path.open("r+b") as file:
            file.seek(place + 100)
            file.write(b"other")
        with pytest.raises(StoreError, match="damaged: the checksum of replicates from 0 on of run 'rows' is wrong"):
            list(store.run("rows").segments(range(LEAF)))


def test_a_negative_control_without_checksums(stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests see wrong numbers where nothing guards them."""
    monkeypatch.setattr(Store, "require_checksum", lambda *arguments: None)
    path = tmp_path / "run.sqlite"
    write(path, flipped(stored.closed, stored.closed.rindex(pack(ROWS[:LEAF])[:200]) + 100, 1))
    with pytest.raises(AssertionError):
        verdict(lambda: Store.open_read(path))


def test_facts_are_plain(stored: Stored, tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    write(path, stored.closed)
    with Store.open_read(path) as store:
        assert all(isinstance(store.run(name).facts, Facts) for name in NAMES)
