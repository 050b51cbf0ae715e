"""The sweep over sizes of select_crops' Triton kernel: what it tries, times and says, on a stand-in clock."""

from typing import NamedTuple

import pytest
import torch

from bench.kernels.sweep import ROWS, WARPS, Case, main, report, settings, swept
from bench.timing import HostTimer


class Sizes(NamedTuple):
    wide: bool
    rows: int = 8
    num_warps: int = 4
    registers: int = 48
    parts: int = 0


SHIPPED = Sizes(wide=False)
OTHER = Sizes(wide=True)


class Bench:
    """A kernel that takes as long as it is told to, on a clock that only it and the check move."""

    def __init__(self, seconds: dict[Sizes, float], wrong: tuple[Sizes, ...] = (), check_seconds: float = 0.0) -> None:
        self.now, self.seconds, self.wrong, self.check_seconds = 0.0, seconds, wrong, check_seconds
        self.out = torch.zeros(3)
        self.case = Case("paper", SHIPPED, list(seconds), self.run, self.check, lambda: self.spend(30e-6), [self.out])

    def spend(self, seconds: float) -> None:
        self.now += seconds

    def run(self, sizes: Sizes) -> None:
        assert sizes not in self.wrong, "a wrong setting was timed"
        assert self.out.isnan().all() or self.out.eq(1).all(), "an output holds an answer from before"
        self.out.fill_(1)
        self.spend(self.seconds[sizes])

    def check(self, sizes: Sizes) -> None:
        assert self.out.isnan().all(), "an output was not poisoned"
        self.spend(self.check_seconds)
        if sizes in self.wrong:
            raise AssertionError("audio: 7 differ\nand more")

    def sweep(self, budget_seconds: float = 1.0):
        return swept(self.case, HostTimer(lambda: self.now), budget_seconds, clock=lambda: self.now)


def test_the_shipped_sizes_and_their_competitor_come_first_and_nothing_twice() -> None:
    found = settings(SHIPPED, usual_parts=lambda sizes: 8 * 4 // sizes.num_warps)
    assert found[:2] == [SHIPPED, OTHER]
    assert len(found) == len(set(found)) == 2 * len(ROWS) * len(WARPS) * 6
    assert {(x.wide, x.rows, x.num_warps) for x in found if x.parts == 0} == {
        (wide, rows, warps) for wide in (False, True) for rows in ROWS for warps in WARPS
    }
    assert {x.parts for x in found if x.num_warps == 4} == {0, 4, 6, 10, 12, 24}
    assert {(x.rows, x.num_warps) for x in found[:12]} == {(8, 4)}  # both copies of it, before anything is far
    assert len(settings(SHIPPED, usual_parts=lambda sizes: 1)) < len(found)  # 0.5 and 0.75 parts are the same


def test_a_finding_names_the_best_and_what_the_shipped_sizes_lose() -> None:
    fast, slow = SHIPPED._replace(parts=6), OTHER._replace(rows=16)
    finding = Bench({SHIPPED: 36.2e-6, OTHER: 45e-6, fast: 32e-6, slow: 50e-6}).sweep()
    assert finding.copy == pytest.approx(30e-6)
    assert finding.times[SHIPPED] == pytest.approx(36.2e-6)
    assert (finding.best(), finding.best(wide=True)) == (fast, OTHER)
    lines = report(finding).splitlines()
    assert lines[0] == "paper: copy_ 30.0 us"
    assert "36.2 us = 1.21 copy_   samples, 8 rows, 4 warps, one wave; loses 13 % against the best" in lines[1]
    assert "32.0 us = 1.07 copy_   samples, 8 rows, 4 warps, 6 parts" in lines[2]
    assert lines[3].split()[0] == "competitor"
    assert "45.0 us = 1.50 copy_   granules, 8 rows, 4 warps, one wave" in lines[3]


def test_what_is_wrong_is_named_and_not_timed() -> None:
    finding = Bench({SHIPPED: 36e-6, OTHER: 1e-6}, wrong=(OTHER,)).sweep()
    assert list(finding.times) == [SHIPPED]
    assert finding.best() == SHIPPED
    assert finding.best(wide=True) is None
    assert "failed       granules, 8 rows, 4 warps, one wave: AssertionError: audio: 7 differ" in report(finding)
    finding = Bench({SHIPPED: 36e-6, OTHER: 30e-6}, wrong=(SHIPPED,)).sweep()  # of all, the shipped ones
    assert "  shipped" not in report(finding)
    assert "failed       samples" in report(finding)


def test_settings_for_which_there_is_no_time_are_counted() -> None:
    many = {SHIPPED._replace(parts=parts): 30e-6 for parts in range(20)}
    finding = Bench(many, check_seconds=0.1).sweep(budget_seconds=1.0)
    assert list(finding.times) == list(many)[:8]  # three quarters of the time are for preparing
    assert finding.left == 12
    assert "12 settings were not timed" in report(finding)


def test_a_machine_without_a_gpu_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2
    assert "a sweep needs a CUDA device" in capsys.readouterr().err
