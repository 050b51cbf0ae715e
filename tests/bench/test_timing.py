"""Clocks, turns of competitors, poisoned outputs and rotated inputs."""

from contextlib import contextmanager

import torch

from bench.timing import DeviceTimer, HostTimer, Rotation, captured, interleaved, poison, poison_freed


class Clock:
    """A clock that calls move."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def spend(self, seconds, log=None, name=None):
        def call():
            self.now += seconds
            if log is not None:
                log.append(name)

        return call


def test_a_host_timer_counts_the_call_alone():
    clock = Clock()
    clock.spend(5.0)()
    assert HostTimer(clock)(clock.spend(0.25)) == 0.25


def test_a_device_timer_empties_caches_before_the_first_event_and_waits_for_the_last():
    log = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            log.append("record")

        def synchronize(self):
            log.append("wait")

        def elapsed_time(self, end):
            return 4.0  # ms

    class Cuda:
        pass

    class Spill:
        def zero_(self):
            log.append("write")

    Cuda.Event = Event
    assert DeviceTimer(Spill(), Cuda)(lambda: log.append("call")) == 4e-3
    assert log == ["write", "record", "call", "record", "wait"]


def test_a_graph_is_captured_on_the_stream_of_its_warm_up_and_replayed():
    log = []

    class Stream:
        def __init__(self, name="side"):
            self.name = name

        def wait_stream(self, other):
            log.append(f"{self.name} waits for {other.name}")

    class Graph:
        def replay(self):
            log.append("replay")

    class Cuda:
        CUDAGraph = Graph

        def __init__(self):
            self.current = Stream("main")

        def Stream(self):  # noqa: N802  # torch's name
            return Stream()

        def current_stream(self):
            return self.current

        @contextmanager
        def stream(self, stream):
            before, self.current = self.current, stream
            yield
            self.current = before

        @contextmanager
        def graph(self, graph, stream):
            log.append("capture")
            with self.stream(stream):
                yield
            log.append("captured")

    cuda = Cuda()
    replay = captured(lambda: log.append(f"call on {cuda.current.name}") or "result", cuda)
    warm_up = ["side waits for main", *["call on side"] * 3, "main waits for side"]
    assert log == [*warm_up, "capture", "call on side", "captured", "replay"]
    log.clear()
    assert replay() == "result"
    assert log == ["replay"]


def test_memory_that_a_call_is_given_anew_holds_no_earlier_answer(monkeypatch):
    given = []
    monkeypatch.setattr("bench.timing.torch.empty_like", lambda x: given.append(torch.zeros_like(x)) or given[-1])
    poison_freed([torch.zeros(3), torch.zeros(2, dtype=torch.int64)])
    assert given[0].isnan().all()
    assert (given[1] == 2**63 - 1).all()


def test_competitors_take_turns_that_go_back_and_forth_and_the_first_round_is_dropped():
    clock, log = Clock(), []
    calls = {"a": clock.spend(1.0, log, "a"), "b": clock.spend(2.0, log, "b")}
    turns = interleaved(calls, HostTimer(clock), budget_seconds=0, clock=clock)
    rounds = len(turns["a"])
    assert rounds == len(log) // 2 - 1
    assert rounds >= 3
    assert "".join(log).startswith("abbaab")
    assert turns == {"a": [[1.0]] * rounds, "b": [[2.0]] * rounds}


def test_fast_calls_are_repeated_and_the_budget_ends_a_race():
    clock = Clock()
    turns = interleaved({"a": clock.spend(0.01)}, HostTimer(clock), budget_seconds=0.4, clock=clock)
    assert all(len(turn) in (3, 4) for turn in turns["a"])  # up to 0.03 s
    assert 10 <= len(turns["a"]) <= 15
    fast = interleaved({"a": clock.spend(1e-6)}, HostTimer(clock), budget_seconds=1, clock=clock)
    assert [len(turn) for turn in fast["a"]] == [5] * 39


def test_outputs_are_poisoned_before_every_turn_and_inputs_come_from_more_than_a_cache():
    out, seen = torch.zeros(3), []

    def call():
        seen.append(bool(out.isnan().all()))
        out.zero_()

    clock = Clock()
    interleaved({"a": call}, lambda call: (call(), 1.0)[1], budget_seconds=0, outputs=[out], clock=clock)
    assert seen
    assert all(seen)
    whole = torch.zeros(2, dtype=torch.int16)
    poison([whole])
    assert whole.tolist() == [32767, 32767]
    x = torch.arange(4.0)  # 16 bytes
    rotation = Rotation((x,), cache_bytes=24)
    assert len(rotation.sets) == 4  # 64 bytes, more than twice the cache
    assert len({rotation()[0].data_ptr() for _ in range(4)}) == 4
    assert all(torch.equal(rotation()[0], x) for _ in range(4))
