"""What a race says of its competitors: promises, ratios, quartiles and limits."""

import pytest
from races import RATES, race

from bench.limits import Work
from bench.race import Race
from bench.report import Case, tables


def test_a_promise_holds_by_the_medians_or_by_the_fastest():
    found = race({"glat": [[1.0], [3.0], [3.0]], "eager": [[4.0], [4.0], [4.0]]})
    found.promise("glat", 4, "eager")  # by the fastest
    found.promise("glat", 4 / 3, "eager")
    with pytest.raises(AssertionError, match="promised: 5"):
        found.promise("glat", 5, "eager")
    race({"glat": [[1.0], [1.0]]}).promise("glat", 5, "eager")  # --only-ours


def test_ratios_are_paired_by_round():
    found = race({"glat": [[1.0], [2.0], [4.0]], "eager": [[3.0], [6.0], [12.0]]})
    assert found.ratio("eager") == [3.0, 3.0, 3.0]


def test_quartiles_lie_within_what_was_measured():
    assert race({"glat": [[1.0], [1.0]], "eager": [[2.0], [4.0]]}).ratio("eager") == [2.5, 3.0, 3.5]


def test_a_copy_of_the_tasks_size_raises_the_bandwidth_where_it_is_faster():
    def seconds(turns, copied):
        found = race(turns, work=Work("x", bytes=4e9), others={"copy_": Work("copied", bytes=copied)})
        return found.to_json()["limit"]["seconds"]

    turns = {"glat": [[2.0]] * 3, "copy_": [[1.0], [3.0], [3.0]]}
    assert seconds(turns, 8e9) == 0.5  # by its fastest call
    assert seconds(turns, 0.5e9) == 4.0  # a copy that other work slowed is no roof
    assert seconds({"glat": turns["glat"]}, 8e9) == 4.0  # --only-ours


def test_a_competitor_with_another_task_is_set_against_its_own_limit():
    turns = {"glat": [[4.0]] * 2, "half": [[4.0]] * 2}
    found = race(turns, work=Work("whole", bytes=2e9), others={"half": Work("part", bytes=1e9)})
    found.record({})
    case = Case.from_json(found.recorded)
    [row] = [line for line in tables([case], [], {"cpu": RATES}) if line.startswith("| forward")]
    assert "4.00 s 50 %, 500 MB/s" in row
    assert "4.00 s ×1.00 (1.00–1.00) 25 %, 250 MB/s" in row
    assert {"- all: whole", "- half in forward: part"} <= set(tables([case], [], {"cpu": RATES}))


def test_a_recorded_limit_follows_rates_that_a_later_race_found():
    rates, info = dict(RATES), {}
    found = Race("kernels", "forward", "cpu", {"glat": [[2.0], [2.0]]}, Work("x", bytes=4e9), rates)
    found.record(info)
    rates["copy"] = 4e9
    found.update_limit()
    assert info["races"][0]["limit"]["seconds"] == 1.0
