"""What the reports of benchmarks rest on."""

from tests.bench import bench


def test_interleaved_takes_turns():
    order = []
    jobs = {name: lambda name=name: order.append(name) or len(order) for name in "ab"}
    assert bench.interleaved(jobs, 2) == {"a": [1, 3], "b": [2, 4]}
    assert order == ["a", "b", "a", "b"]
