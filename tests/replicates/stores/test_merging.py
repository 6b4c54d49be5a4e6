"""Merged stores: the bits of one run, whatever the parts; overlaps, gaps and other runs are named."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SEED
from store_parts import FACTS, HEADER, finished, truth
from test_stores import tallied

from mcgen.errors import StoreError
from mcgen.inference.moments import ReplicateMeans
from mcgen.replicates.stores.merging import merge_stores
from mcgen.replicates.stores.store import Store
from mcgen.replicates.summation import LEAF
from mcgen.replicates.tally import segments_of
from mcgen.replicates.task import Facts

N = 4 * LEAF + 50
ROWS = truth(N)


def part(
    path: Path,
    first: int,
    last: int,
    keep: bool = False,
    runs: tuple[str, ...] = ("only",),
    rows: ReplicateMeans = ROWS,
    facts: Facts = FACTS,
    **changes: Any,
) -> Path:
    """The store of a finished part of a run."""
    with Store(path, HEADER | {"replicates": [first, last]} | changes) as store:
        for name in runs:
            for start in range(first, last, 64):
                store.run(name).add(finished(rows, start, min(start + 64, last), keep, facts), keep)
    return path


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("edges", [(0, N), (0, 300, 600, N), (0, 100, 200, 2 * LEAF, N), (0, 1, N - 1, N)])
def test_a_merged_store_is_that_of_one_run(tmp_path: Path, edges: tuple[int, ...], keep: bool) -> None:
    parts = [part(tmp_path / f"{a}.sqlite", a, b, keep, ("b", "a")) for a, b in pairwise(edges)]
    shuffled = [parts[i] for i in np.random.default_rng(SEED).permutation(len(parts))]
    merge_stores(shuffled, tmp_path / "whole.sqlite")
    with Store.open_read(tmp_path / "whole.sqlite") as store:
        assert store.header == HEADER | {"replicates": None}
        assert store.run_names() == ["b", "a"]
        for name in ("a", "b"):
            run = store.run(name)
            assert run.covered() == [range(N)]
            assert run.keeps_rows == keep
            assert run.facts == FACTS
            assert run.seconds == pytest.approx(N)
            assert tallied(run.segments(range(N))) == tallied(segments_of([ROWS], keep))
    assert {path.name for path in tmp_path.iterdir()} == {"whole.sqlite", *(path.name for path in parts)}


def test_a_merged_store_goes_on(tmp_path: Path) -> None:
    parts = [part(tmp_path / f"{a}.sqlite", a, b) for a, b in ((0, 300), (300, 600))]
    merge_stores([str(path) for path in parts], str(tmp_path / "whole.sqlite"))
    with Store(tmp_path / "whole.sqlite", HEADER | {"replicates": None}) as store:
        store.run("only").add(finished(ROWS, 600, N), keep=False)
    with Store.open_read(tmp_path / "whole.sqlite") as store:
        assert store.run("only").covered() == [range(N)]


def test_replicate_means_are_kept_where_all_parts_have_them(tmp_path: Path) -> None:
    parts = [part(tmp_path / f"{a}.sqlite", a, b, keep=a == 0) for a, b in ((0, 300), (300, N))]
    merge_stores(parts, tmp_path / "whole.sqlite")
    with Store.open_read(tmp_path / "whole.sqlite") as store:
        assert tallied(store.run("only").segments(range(N))) == tallied(segments_of([ROWS], False))


def test_warnings_and_states_are_joined(tmp_path: Path) -> None:
    for first, last, warning, rounding in ((0, 300, "one", 1e-3), (300, 600, "two", 1e-7)):
        path = part(tmp_path / f"{first}.sqlite", first, last, facts=Facts((3,), rounding, ("both", warning)))
        with Store(path, HEADER | {"replicates": [first, last]}) as store:
            store.run("only").remember("shared", {"a": (0.1, np.arange(2))})
            store.run("only").remember(warning, {"of": warning})
            # What is a part's own.
            store.run("only").remember("about", {"target": 300, "began": first})
            store.run("only").remember("planned", {"planned": 300 + first})
    merge_stores([tmp_path / "0.sqlite", tmp_path / "300.sqlite"], tmp_path / "whole.sqlite")
    with Store.open_read(tmp_path / "whole.sqlite") as store:
        run = store.run("only")
        assert run.facts == Facts((3,), 1e-3, ("both", "one", "two"))
        assert run.remembered() == ["about", "one", "shared", "two"]
        assert run.recall("about") == {"target": 600, "began": 0}
        assert run.recall("two") == {"of": "two"}


def test_different_states_are_refused(tmp_path: Path) -> None:
    for first, last in ((0, 300), (300, 600)):
        path = part(tmp_path / f"{first}.sqlite", first, last)
        with Store(path, HEADER | {"replicates": [first, last]}) as store:
            store.run("only").remember("pilot", {"coefficient": float(first)})
    refused(tmp_path, "know different things of run 'only': pilot.coefficient is 0.0 and 300.0; merge parts of one run")


def refused(folder: Path, message: str) -> None:
    """Merging all stores of a folder is refused and leaves nothing."""
    parts = sorted(folder.iterdir())
    with pytest.raises(StoreError, match=message):
        merge_stores(parts, folder / "whole.sqlite")
    assert sorted(folder.iterdir()) == parts


def test_overlaps_are_named(tmp_path: Path) -> None:
    part(tmp_path / "a.sqlite", 0, 300)
    part(tmp_path / "b.sqlite", 280, 600)
    refused(tmp_path, r"a\.sqlite and .*b\.sqlite both hold replicates 280 to 299 of run 'only'; a replicate can be")


def test_a_part_given_twice_is_an_overlap(tmp_path: Path) -> None:
    path = part(tmp_path / "a.sqlite", 0, 300)
    with pytest.raises(StoreError, match="both hold replicates 0 to 299 of run 'only'.* leave one of the stores out"):
        merge_stores([path, path], tmp_path / "whole.sqlite")


def test_a_part_inside_another_is_an_overlap(tmp_path: Path) -> None:
    part(tmp_path / "a.sqlite", 0, 600)
    part(tmp_path / "b.sqlite", 100, 200)
    refused(tmp_path, r"both hold replicates 100 to 199 of run 'only'")


def test_gaps_are_named(tmp_path: Path) -> None:
    part(tmp_path / "b.sqlite", 300, 400)
    refused(tmp_path, "replicates 0 to 299 of run 'only' are in none of the stores; give the store that has them too")
    part(tmp_path / "a.sqlite", 0, 256)
    refused(tmp_path, "replicates 256 to 299 of run 'only' are in none of the stores")


def test_unfinished_parts_are_named(tmp_path: Path) -> None:
    header = HEADER | {"replicates": [0, 600]}
    path = tmp_path / "a.sqlite"
    with Store(path, header):
        pass
    refused(tmp_path, r"stores .*a\.sqlite hold no replicates; run the parts first")
    with Store(path, header) as store:
        store.run("only")
    refused(tmp_path, "a.sqlite is not finished: replicates 0 to 599 of run 'only' are missing; run its part again")
    with Store(path, header) as store:
        store.run("only").add(finished(ROWS, 100, 200), keep=False)
        store.run("only").add(finished(ROWS, 256, 300), keep=False)
    missing = "replicates 0 to 99, replicates 200 to 255, replicates 300 to 599"
    refused(tmp_path, f"is not finished: {missing} of run 'only' are missing")


def test_a_whole_run_with_a_gap_is_not_finished(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite", HEADER) as store:
        store.run("only").add(finished(ROWS, 0, 100), keep=False)
        store.run("only").add(finished(ROWS, 256, 300), keep=False)
    refused(tmp_path, "is not finished: replicates 100 to 255 of run 'only' are missing")


def test_a_run_that_a_part_lacks(tmp_path: Path) -> None:
    part(tmp_path / "a.sqlite", 0, 300, runs=("only", "other"))
    part(tmp_path / "b.sqlite", 300, 600)
    refused(tmp_path, r"b\.sqlite is not finished: replicates 300 to 599 of run 'other' are missing")


def test_stores_of_different_runs(tmp_path: Path) -> None:
    part(tmp_path / "a.sqlite", 0, 300)
    part(tmp_path / "b.sqlite", 300, 600, seed=1, design="Sobol(8)")
    refused(
        tmp_path,
        r"a\.sqlite and .*b\.sqlite are of different runs: design is 'Antithetic\(\)' and 'Sobol\(8\)'; seed is 0 and 1; "
        "merge parts of one run",
    )


def test_stores_of_different_components(tmp_path: Path) -> None:
    part(tmp_path / "a.sqlite", 0, 300)
    part(tmp_path / "b.sqlite", 300, 600, rows=truth(N, 4), facts=Facts((4,), 0.0, ()))
    refused(tmp_path, r"have components of shape \(3,\) and \(4,\) of run 'only'; merge parts of one run")


def test_an_output_that_exists_is_left_alone(tmp_path: Path) -> None:
    path = part(tmp_path / "a.sqlite", 0, 300)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"a\.sqlite exists already; give the merged store another path, or delete it"):
        merge_stores([path], path)
    assert path.read_bytes() == before


def test_places_and_numbers_of_stores(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no stores to merge; give the path of one or more"):
        merge_stores([], tmp_path / "whole.sqlite")
    with pytest.raises(StoreError, match=r"missing\.sqlite does not exist; a run with store= makes it"):
        merge_stores([tmp_path / "missing.sqlite"], tmp_path / "whole.sqlite")
    path = part(tmp_path / "a.sqlite", 0, 300)
    with pytest.raises(StoreError, match="is to be in a folder that does not exist"):
        merge_stores([path], tmp_path / "nowhere" / "whole.sqlite")


def test_a_damaged_part_is_refused(tmp_path: Path) -> None:
    path = part(tmp_path / "a.sqlite", 0, 300)
    path.write_bytes(path.read_bytes()[:9000])
    refused(tmp_path, r"a\.sqlite is damaged")
