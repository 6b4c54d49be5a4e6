"""Stores: the same bits back, one writer, errors that name what is wrong, nothing half stored."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SEED
from hypothesis import given
from hypothesis import strategies as st
from store_parts import FACTS, HEADER, finished, truth

from mcgen.errors import StoreError
from mcgen.inference.moments import Moments, ReplicateMeans
from mcgen.replicates.ranges import FinishedRange
from mcgen.replicates.stores import store as stores
from mcgen.replicates.stores.encoding import kind_of, pack, unpack
from mcgen.replicates.stores.store import Store
from mcgen.replicates.summation import LEAF
from mcgen.replicates.tally import Leaf, Segment, Tally, segments_of
from mcgen.replicates.task import Facts


def tallied(segments: Iterable[Segment]) -> tuple[int, bytes, bytes | None]:
    """All that a run makes of segments, bit for bit."""
    tally = Tally(keep=True)
    for segment in segments:
        tally.add(segment)
    moments, kept = tally.moments(), tally.kept()
    assert moments is not None
    return moments.count, pack(Leaf(0, moments)), None if kept is None else b"".join(part.tobytes() for part in kept)


def same(segment: Segment, rows: ReplicateMeans) -> bool:
    """Whether a segment is the one that the true rows make."""
    own = rows[segment.start - rows.start : segment.start - rows.start + len(segment)]
    other: Segment = Leaf(own.start, Moments.of(own)) if isinstance(segment, Leaf) else own
    return segment.start == other.start and len(segment) == len(other) and pack(segment) == pack(other)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path, HEADER) as made:
        yield made


# What comes back


@given(data=st.data(), k=st.sampled_from([1, 4, 40]), counts=st.booleans())
def test_packed_segments_come_back_bit_for_bit(data: st.DataObject, k: int, counts: bool) -> None:
    rows = truth(LEAF, k, counts, start=LEAF)
    special = data.draw(st.lists(st.floats(width=64), min_size=1, max_size=8))
    rows.means.flat[: min(len(special), rows.means.size)] = special
    first, last = sorted(data.draw(st.lists(st.integers(0, LEAF), min_size=2, max_size=2, unique=True)))
    with np.errstate(all="ignore"):
        leaf = Leaf(LEAF, Moments.of(rows))
    for segment in (rows[first:last], leaf):
        again = unpack(kind_of(segment), range(segment.start, segment.start + len(segment)), pack(segment))
        assert type(again) is type(segment)
        assert (again.start, len(again), pack(again)) == (segment.start, len(segment), pack(segment))
        assert not isinstance(again, ReplicateMeans) or again.n_points == 2


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("counts", [False, True])
def test_pieces_in_any_order_give_the_bits_of_one_run(path: Path, keep: bool, counts: bool) -> None:
    n = 5 * LEAF + 40
    rows = truth(n, counts=counts)
    numbers = np.random.default_rng(SEED)
    edges = [0, *sorted(numbers.choice(np.arange(1, n), 30, replace=False).tolist()), n]
    order = numbers.permutation(len(edges) - 1)
    for some in np.array_split(order, 3):
        with Store(path, HEADER) as store:
            run = store.run("only")
            for i in some:
                run.add(finished(rows, edges[i], edges[i + 1], keep), keep)
    with Store.open_read(path) as store:
        run = store.run("only")
        assert run.covered() == [range(n)]
        assert run.seconds == pytest.approx(n)
        assert run.keeps_rows == keep
        assert run.facts == FACTS
        found = list(run.segments(range(n)))
    whole = segments_of([rows], keep)
    # The rest, no whole leaf, stays in the rows that came.
    assert [pack(segment) for segment in found[:5]] == [pack(segment) for segment in whole[:5]]
    assert tallied(found) == tallied(whole)


def test_ranges_are_joined_and_rows_cut(store: Store) -> None:
    rows = truth(3 * LEAF)
    run = store.run("only")
    for first, last in ((600, 700), (10, 20), (20, 30), (2, 10), (256, 512)):
        run.add(finished(rows, first, last), keep=False)
    assert run.covered() == [range(2, 30), range(256, 512), range(600, 700)]
    cut = list(run.segments(range(5, 25)))
    assert [(segment.start, len(segment)) for segment in cut] == [(5, 5), (10, 10), (20, 5)]
    assert all(same(segment, rows) for segment in cut)
    assert list(run.segments(range(0))) == []


def test_rows_of_a_whole_leaf_become_its_moments_unless_kept(store: Store) -> None:
    rows = truth(LEAF)
    for name, keep in (("moments", False), ("rows", True)):
        run = store.run(name)
        run.add(finished(rows, 0, 100), keep)
        run.add(finished(rows, 100, LEAF), keep)
        (segment,) = run.segments(range(LEAF))
        assert isinstance(segment, Leaf) == (name == "moments")
        assert same(segment, rows)
        assert run.seconds == pytest.approx(LEAF)


def test_large_rows_are_kept_as_they_came(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_LARGEST_ROW", 1000)
    rows = truth(LEAF)
    run = store.run("only")
    for first in (100, 0):
        run.add(finished(rows, first, LEAF if first else 100, keep=True), keep=True)
    assert [len(segment) for segment in run.segments(range(LEAF))] == [100, LEAF - 100]


def test_several_runs_and_their_states(path: Path) -> None:
    rows = truth(20)
    with Store(path, HEADER) as store:
        for name in ("b", "a"):
            run = store.run(name)
            assert run.facts is None
            assert run.covered() == []
            assert run.recall("pilot") is None
            run.add(finished(rows, 0, 20), keep=True)
            run.remember("pilot", {"of": "nobody"})
            run.remember("pilot", {"of": name, "numbers": np.array([0.1, 1e-300]), "shape": (1, 2)})
    with Store.open_read(path) as store:
        assert store.run_names() == ["b", "a"]
        assert store.header == HEADER
        for name in ("a", "b"):
            recalled = store.run(name).recall("pilot")
            assert recalled is not None
            assert recalled["of"] == name
            assert recalled["numbers"].tolist() == [0.1, 1e-300]
            assert recalled["shape"] == [1, 2]
            assert store.run(name).remembered() == ["pilot"]


def test_facts_grow_and_disagreement_is_refused(store: Store) -> None:
    rows = truth(30)
    run = store.run("only")
    run.add(finished(rows, 0, 10, facts=Facts((3,), 1e-7, ("one",), (2,))), keep=True)
    run.add(finished(rows, 10, 20, facts=Facts((3,), 1e-3, ("one", "two"), (2,))), keep=True)
    assert run.facts == Facts((3,), 1e-3, ("one", "two"), (2,))
    with pytest.raises(StoreError, match=r"has components \(3,\) of run 'only' and now \(4,\) came; the statistic is"):
        run.add(finished(rows, 20, 30, facts=Facts((4,), 1e-3, (), (2,))), keep=True)
    with pytest.raises(StoreError, match=r"has own_shape \(2,\) of run 'only' and now None came"):
        run.add(finished(rows, 20, 30), keep=True)
    assert run.covered() == [range(20)]


def test_rows_that_a_run_found_can_be_read_after_their_leaf_was_finished(path: Path) -> None:
    """A run with gaps takes what is stored and what it runs in turn; the gaps may be filled before it comes by."""
    rows = truth(3 * LEAF)
    with Store(path, HEADER) as store:
        for first, last in ((0, 300), (400, 3 * LEAF)):
            store.run("").add(finished(rows, first, last), keep=False)
    with Store(path, HEADER) as store:
        run = store.run("")
        before = list(run.segments(range(300)))
        run.add(finished(rows, 300, 400), keep=False)
        after = list(run.segments(range(400, 3 * LEAF)))
        assert isinstance(after[0], ReplicateMeans)
        found = [*before, rows[300:400], *after]
        assert tallied(found) == tallied(segments_of([rows], False))
    with Store.open_read(path) as store:
        kinds = [type(segment) for segment in store.run("").segments(range(3 * LEAF))]
        assert kinds == [Leaf] * 3


def test_of_one_run_without_a_name_no_name_is_told(store: Store) -> None:
    with pytest.raises(StoreError, match="lacks replicate 0; it has none"):
        list(store.run("").segments(range(10)))


# What is refused


@pytest.mark.parametrize(
    ("first", "last", "named"),
    [(0, 10, "0 to 9"), (90, 120, "90 to 99"), (50, 60, "50 to 59"), (250, 700, "256 to 511, replicates 600 to 649")],
)
def test_no_replicate_twice(store: Store, first: int, last: int, named: str) -> None:
    rows = truth(4 * LEAF)
    run = store.run("only")
    run.add(finished(rows, 0, 100), keep=False)
    run.add(finished(rows, 256, 512), keep=False)
    run.add(finished(rows, 600, 650), keep=False)
    before = run.covered()
    with pytest.raises(
        StoreError, match=f"has replicates {named} of run 'only' already; a replicate can be counted once"
    ):
        run.add(finished(rows, first, last), keep=False)
    assert run.covered() == before


def test_a_piece_is_stored_whole_or_not_at_all(store: Store) -> None:
    rows = truth(3 * LEAF)
    run = store.run("only")
    with pytest.raises(ValueError, match="replicates 256 to 599 go over the end of a leaf of 256; cut them there"):
        run.add(FinishedRange([rows[:LEAF], rows[LEAF:600]], FACTS, 1.0), keep=True)
    assert run.covered() == []
    assert run.facts is None


def test_what_is_not_stored_is_not_returned(store: Store) -> None:
    rows = truth(3 * LEAF)
    run = store.run("only")
    with pytest.raises(StoreError, match="lacks replicate 0 of run 'only'; it has none: run again with the same store"):
        list(run.segments(range(10)))
    run.add(finished(rows, 0, 300), keep=False)
    with pytest.raises(StoreError, match="lacks replicate 300 of run 'only'; it has replicates 0 to 299"):
        list(run.segments(range(301)))
    needed = "only the moments over all of replicates 0 to 255 of run 'only', and replicates 0 to 99 alone are needed"
    with pytest.raises(StoreError, match=f"{needed}; ask for a multiple of 256 replicates"):
        list(run.segments(range(100)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "belongs to another run: seed is 0 in the store and 1 here. Give another path"),
        ({"seed": 0.0}, "seed is 0 in the store and 0.0 here"),
        (
            {"design": "Sobol(8)", "seed": 2},
            r"design is 'Antithetic\(\)' in the store and 'Sobol\(8\)' here; seed is 0 ",
        ),
        (
            {"versions": {"mcgen": "0.1.0", "numpy": "2.1"}},
            "run: versions.numpy is '2.0' in the store and '2.1' here. ",
        ),
        ({"fingerprint": "abc"}, "fingerprint is absent in the store and 'abc' here"),
        ({"versions": {"mcgen": "0.1.0"}}, "versions.numpy is '2.0' in the store and absent here"),
        ({"design": "x" * 300 + "y"}, r"design is 'Antithetic\(\)' in the store and 'xxxxx.*xxx\.\.\. here"),
    ],
)
def test_a_store_of_another_run(path: Path, changes: dict[str, Any], message: str) -> None:
    Store(path, HEADER).close()
    with pytest.raises(StoreError, match=message):
        Store(path, HEADER | changes)
    Store(path, HEADER).close()


def test_of_long_values_the_difference_is_shown(path: Path) -> None:
    Store(path, {"basis": "x" * 500 + "a"}).close()
    with pytest.raises(StoreError, match=r"basis is \.\.\.x+a' in the store and \.\.\.x+b' here"):
        Store(path, {"basis": "x" * 500 + "b"})


def test_order_of_the_header_does_not_matter(path: Path) -> None:
    Store(path, {"a": {"c": (1, 2), "d": 2}, "b": 0.1}).close()
    Store(path, {"b": 0.1, "a": {"d": 2, "c": [1, 2]}}).close()


def change(path: Path, *commands: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        for command in commands:
            connection.execute(command)
    connection.close()


def test_a_store_from_a_newer_version(path: Path) -> None:
    Store(path, HEADER).close()
    change(path, "PRAGMA user_version = 7")
    for use in (lambda: Store(path, HEADER), lambda: Store.open_read(path)):
        with pytest.raises(
            StoreError, match=r"newer version of mcgen \(schema 7; this version reads up to 2\); upgrade"
        ):
            use()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "UPDATE header SET value = '1' WHERE name = 'seed'",
            "is damaged: the checksum of field 'design' of the header",
        ),
        ("DELETE FROM header WHERE name = 'seed'", "is damaged: the checksum of field 'design' of the header is wrong"),
        ("DELETE FROM header", "is damaged: its header is empty"),
        ("UPDATE runs SET run = 5", "damaged: the checksum of run 'only' is wrong"),
        ("DELETE FROM runs", "damaged: the checksum of replicates from 0 on of run None|without their run"),
        ("UPDATE segments SET seconds = 2", "damaged: the checksum of replicates from 0 on of run 'only' is wrong"),
        ("UPDATE segments SET start = 'x'", "damaged: the checksum of replicates from x on of run 'only' is wrong"),
        ("UPDATE segments SET data = NULL", "damaged: the checksum of replicates from 0 on of run 'only' is wrong"),
        ("UPDATE state SET value = '{}'", "damaged: the checksum of state 'pilot' is wrong; restore a copy of it, or"),
        ("DROP TABLE state", "damaged: its tables are not those of a store"),
        ("PRAGMA user_version = 0", "damaged: it says schema 0"),
        (
            "PRAGMA application_id = 5",
            "run.sqlite is an SQLite database, but not a store of mcgen's; give another path",
        ),
    ],
)
def test_changed_rows_are_refused(path: Path, command: str, message: str) -> None:
    with Store(path, HEADER) as store:
        store.run("only").add(finished(truth(10), 0, 10), keep=True)
        store.run("only").remember("pilot", {"a": 1})
    change(path, command)
    for use in (lambda: Store(path, HEADER), lambda: Store.open_read(path)):
        with pytest.raises(StoreError, match=message):
            use()


def test_a_row_of_another_run_is_refused(tmp_path: Path) -> None:
    for seed in (0, 1):
        with Store(tmp_path / f"{seed}.sqlite", {"seed": seed}) as store:
            store.run("only").add(finished(truth(10, start=10 * seed), 0, 10), keep=True)
    source = sqlite3.connect(tmp_path / "1.sqlite")
    row = source.execute("SELECT * FROM segments").fetchone()
    source.close()
    target = sqlite3.connect(tmp_path / "0.sqlite")
    with target:
        target.execute("INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    target.close()
    with pytest.raises(StoreError, match="the checksum of replicates from 10 on of run 'only' is wrong"):
        Store(tmp_path / "0.sqlite", {"seed": 0})


def test_places_where_no_store_can_be(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"is a folder; give the path of a file in it, such as .*run\.sqlite"):
        Store(tmp_path, HEADER)
    with pytest.raises(StoreError, match=r"is to be in a folder that does not exist; make .*missing first"):
        Store(tmp_path / "missing" / "run.sqlite", HEADER)
    for place in (tmp_path / "run.sqlite", tmp_path / "missing" / "run.sqlite"):
        with pytest.raises(StoreError, match=r"run\.sqlite does not exist; a run with store= makes it"):
            Store.open_read(place)
    assert list(tmp_path.iterdir()) == []


def test_other_files_are_not_overwritten(path: Path) -> None:
    for content, message in (
        (b"", "is damaged: it is empty"),
        (b"a letter " * 1000, "is not a store, or is damaged: file is not a"),
    ):
        path.write_bytes(content)
        for use in (lambda: Store(path, HEADER), lambda: Store.open_read(path)):
            with pytest.raises(StoreError, match=message):
                use()
        assert path.read_bytes() == content
    path.unlink()
    change(path, "CREATE TABLE letters (a)")
    with pytest.raises(StoreError, match="not a store of mcgen's"):
        Store(path, HEADER)


def test_the_log_of_a_missing_store_is_not_written_into_a_new_one(path: Path) -> None:
    rest = path.with_name("run.sqlite-wal")
    rest.write_bytes(b"anything")
    with pytest.raises(
        StoreError, match=r"run\.sqlite is missing, while run\.sqlite-wal of it is there; restore the store"
    ):
        Store(path, HEADER)
    assert rest.read_bytes() == b"anything"


def test_a_reader_sees_one_state_and_writes_nothing(store: Store) -> None:
    rows = truth(20)
    run = store.run("only")
    run.add(finished(rows, 0, 10), keep=True)
    with Store.open_read(store.path) as reader:
        run.add(finished(rows, 10, 20), keep=True)
        seen = reader.run("only")
        assert seen.covered() == [range(10)]
        with pytest.raises(StoreError, match=r"has no run 'other'; it has \['only'\]"):
            reader.run("other")
        with pytest.raises(StoreError, match="was opened to be read; open it as a Store to write"):
            seen.add(finished(rows, 10, 20), keep=True)
    with Store.open_read(store.path) as reader:
        assert reader.run("only").covered() == [range(20)]


def test_a_reader_does_not_keep_the_store_from_closing(path: Path) -> None:
    store = Store(path, HEADER)
    store.run("only").add(finished(truth(10), 0, 10), keep=True)
    with Store.open_read(path) as reader:
        store.close()
        assert reader.run("only").covered() == [range(10)]
    with Store(path, HEADER) as store:
        assert store.run("only").covered() == [range(10)]
    assert [entry.name for entry in path.parent.iterdir()] == ["run.sqlite"]


# One writer


def test_the_same_process_does_not_open_a_store_twice(store: Store, tmp_path: Path) -> None:
    link = tmp_path / "link.sqlite"
    link.symlink_to(store.path)
    for place in (store.path, link):
        with pytest.raises(StoreError, match="is in use by another run, of this process or of another one; wait until"):
            Store(place, HEADER)
    store.run("only").add(finished(truth(10), 0, 10), keep=True)
    store.close()
    Store(link, HEADER).close()


def test_a_lock_that_is_none(path: Path) -> None:
    lock = path.with_name("run.sqlite-lock")
    lock.write_bytes(b"a letter " * 1000)
    with pytest.raises(
        StoreError, match=r"run\.sqlite-lock is not the lock of a store: file is not a database; delete it"
    ):
        Store(path, HEADER)
    lock.write_bytes(b"")
    Store(path, HEADER).close()
    assert [entry.name for entry in path.parent.iterdir()] == ["run.sqlite"]


CHILD = f"""
import os, sys, time, resource, signal
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import numpy as np
from mcgen.errors import StoreError
from mcgen.replicates.stores.store import Store
from store_parts import *
path = Path(sys.argv[1])
"""


def started(code: str, path: Path) -> subprocess.Popen[str]:
    """A process with what tests need imported."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", CHILD + code, str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def child(code: str, path: Path) -> subprocess.Popen[str]:
    """The same, when it has said that it is ready."""
    process = started(code, path)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def rest_of(process: subprocess.Popen[str]) -> str:
    with process:
        assert process.stdout is not None
        return process.stdout.read()


def test_a_second_process_gets_an_error_until_the_first_is_killed(path: Path) -> None:
    process = child("store = Store(path, HEADER)\nprint('ready', flush=True)\ntime.sleep(60)", path)
    with pytest.raises(StoreError, match="is in use by another run"):
        Store(path, HEADER)
    with Store.open_read(path) as reader:
        assert reader.run_names() == []
    process.kill()
    rest_of(process)
    Store(path, HEADER).close()


def test_never_two_have_the_store(path: Path) -> None:
    """Three processes open and close it, so that the lock file comes and goes."""
    code = """
inside = path.with_name("inside")
wrong = entered = 0
while entered < 10:
    try:
        with Store(path, HEADER):
            entered += 1
            try:
                os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                wrong += 1
            inside.unlink(missing_ok=True)
    except StoreError as error:
        assert "in use" in str(error), error
    time.sleep(0.001)
print(wrong)
"""
    processes = [started(code, path) for _ in range(3)]
    assert [rest_of(process) for process in processes] == ["0\n"] * 3


# Killed, full, read only


ADDING = """
rows = truth(N)
with Store(path, HEADER) as store:
    run = store.run("only")
    covered = [i for part in run.covered() for i in part]
    order = np.random.default_rng(len(covered)).permutation(np.setdiff1d(np.arange(0, N, 32), covered))
    print("ready", flush=True)
    for first in order.tolist():
        run.add(finished(rows, first, first + 32), keep=False)
        print(first, flush=True)
        time.sleep(0.001)
"""


def test_killed_at_random_moments(path: Path) -> None:
    n = 64 * LEAF
    rows = truth(n)
    numbers = np.random.default_rng(SEED)
    written: set[int] = set()
    for _ in range(8):
        process = child(ADDING.replace("N", str(n)), path)
        time.sleep(float(numbers.uniform(0, 0.1)))
        process.send_signal(signal.SIGKILL)
        # The last line may be cut.
        written |= {int(line) for line in rest_of(process).splitlines(keepends=True) if line.endswith("\n")}
        with Store.open_read(path) as store:
            covered = store.run("only").covered()
            found = [segment for part in covered for segment in store.run("only").segments(part)]
        assert written <= {first for part in covered for first in part}
        assert sum(map(len, covered)) <= 32 * (len(written) + 8)
        assert all(same(segment, rows) for segment in found)
    with Store(path, HEADER) as store:
        run = store.run("only")
        there = {first for part in run.covered() for first in part}
        for first in sorted(set(range(0, n, 32)) - there):
            run.add(finished(rows, first, first + 32), keep=False)
        assert tallied(run.segments(range(n))) == tallied(segments_of([rows], False))


def test_killed_while_it_is_made(tmp_path: Path) -> None:
    code = """
print("ready", flush=True)
for i in range(10000):
    Store(path / f"{i}.sqlite", HEADER).close()
"""
    for delay in (0.05, 0.083):
        process = child(code, tmp_path)
        time.sleep(delay)
        process.kill()
        rest_of(process)
        made = [path for path in tmp_path.iterdir() if path.suffix == ".sqlite"]
        for place in {path.with_name(path.name.split("-")[0]) for path in tmp_path.iterdir()}:
            with Store(place, HEADER) as store:
                assert store.run_names() == []
        assert {path.suffix for path in tmp_path.iterdir()} == {".sqlite"}
        for path in made:
            path.unlink()


def test_a_full_disk(store: Store) -> None:
    rows = truth(60 * LEAF)
    run = store.run("only")
    assert store.database.value("PRAGMA max_page_count = 20") == 20

    def add_all() -> None:
        for first in range(run.covered()[-1].stop if run.covered() else 0, len(rows), LEAF):
            run.add(finished(rows, first, first + LEAF, keep=True), keep=True)

    with pytest.raises(StoreError, match="can't grow: database or disk is full; the ranges that it holds are safe"):
        add_all()
    (covered,) = run.covered()
    assert all(same(segment, rows) for segment in run.segments(covered))
    store.database.execute("PRAGMA max_page_count = 10000")
    add_all()
    assert all(same(segment, rows) for segment in run.segments(range(60 * LEAF)))


def test_a_disk_that_takes_no_more(path: Path) -> None:
    """Every write beyond a size fails, in the log and in the file itself."""
    code = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
rows = truth(600 * 32)
print("ready", flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
done = 0
try:
    with Store(path, HEADER) as store:
        run = store.run("only")
        while done < len(rows):
            run.add(finished(rows, done, done + 32, True), True)
            done += 32
except StoreError as error:
    print(done, error)
"""
    done, _, message = rest_of(child(code, path)).partition(" ")
    assert "can't be read or written: disk I/O error; the disk may be full" in message
    rows = truth(600 * 32)
    with Store(path, HEADER) as store:
        run = store.run("only")
        assert run.covered() == [range(int(done))]
        assert all(same(segment, rows) for segment in run.segments(range(int(done))))


def test_no_room_for_a_new_store(path: Path) -> None:
    code = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
print("ready", flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (6000, resource.RLIM_INFINITY))
try:
    Store(path, HEADER)
except StoreError as error:
    print(error)
"""
    assert "can't be read or written" in rest_of(child(code, path))
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("locked", ["file", "folder", "lock"])
def test_what_can_not_be_written_can_be_read(locked: str) -> None:
    """By another user, where the tests run as root, whom no permission stops."""
    code = """
if os.getuid() == 0:
    os.setuid(65534)
print("ready", flush=True)
try:
    Store(path, HEADER)
except StoreError as error:
    print(error)
with Store.open_read(path) as store:
    print(store.run("only").covered())
"""
    with tempfile.TemporaryDirectory() as name:
        folder, path = Path(name), Path(name) / "run.sqlite"
        with Store(path, HEADER) as store:
            store.run("only").add(finished(truth(10), 0, 10), keep=True)
        if locked == "lock":
            Path(f"{path}-lock").touch(0o444)
        path.chmod(0o444 if locked == "file" else 0o666)
        folder.chmod(0o555 if locked == "folder" else 0o777)
        output = rest_of(child(code, path))
        folder.chmod(0o755)
    expected = (
        "can't be opened: unable to open" if locked == "folder" else "can't be written: attempt to write a readonly"
    )
    assert expected in output
    assert "writable" in output
    assert output.endswith("[range(0, 10)]\n")


# What it costs


def test_moments_of_four_components_take_less_than_a_kilobyte_a_leaf(path: Path) -> None:
    n = 200
    rows = truth(n * LEAF, k=4)
    with Store(path, HEADER) as store:
        run = store.run("only")
        for first in range(0, n * LEAF, LEAF):
            run.add(finished(rows, first, first + LEAF, facts=Facts((4,), 0.0, ())), keep=False)
    assert path.stat().st_size < 1024 * n
