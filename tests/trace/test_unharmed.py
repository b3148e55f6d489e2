"""The caller's model is what it was, whatever a trace meets."""

import copy
import gc
import threading
import weakref

import pytest
import torch
from torch import nn

from cnnlab.trace.run import TraceError, trace
from tests.threads import overlap


def state_of(model):
    """Everything that must not change."""
    return (
        [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        {k: v.clone() for k, v in model.state_dict().items()},
        [id(t) for t in (*model.parameters(), *model.buffers())],
        [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        torch.get_rng_state(),
    )


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


class Fails(nn.Module):
    def forward(self, x):
        raise KeyError("a learner's slip")


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_nothing_about_the_callers_model_changes(fails, training):
    last = Fails() if fails else nn.Dropout()
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), last).train()
    model[1].eval()  # a mixed mode must come back mixed
    model(torch.rand(2, 3, 8, 8)).sum().backward() if not fails else None
    model.register_forward_hook(lambda *_: None)
    before = copy.deepcopy(state_of(model))
    if fails:
        with pytest.raises(TraceError):
            trace(model, (3, 8, 8), training=training)
    else:
        assert trace(model, (3, 8, 8), training=training).kept_bytes > 0
    assert same(before, state_of(model))
    from torch.nn.modules import module

    assert not module._global_forward_hooks and not module._global_forward_pre_hooks


class Remembers(nn.Module):
    """Writes to itself in forward, as learners' and libraries' modules do."""

    def __init__(self):
        super().__init__()
        self.calls = 0
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("total", torch.zeros(3))

    def forward(self, x):
        self.calls += 1
        self.features = x * self.weight[:, None, None]
        self.mean = 0.9 * self.mean + self.features.mean((0, 2, 3))
        self.total.add_(1)
        self.weight.data.mul_(2)
        return self.features


def test_a_model_is_gone_with_its_table_without_waiting_for_the_garbage_collector():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 1, 3))
    gone = weakref.ref(model)
    gc.disable()
    try:
        table = trace(model, (1, 8, 8))
        assert table.kept_bytes and table.peak_live_bytes and str(table)
        assert gone() is not None
        del model, table
        assert gone() is None
    finally:
        gc.enable()


def test_what_forward_stores_is_put_back():
    model = Remembers()
    before = copy.deepcopy(state_of(model))
    assert trace(model, (3, 4, 4)).kept_bytes > 0
    assert same(before, state_of(model))
    assert model.calls == 0 and not hasattr(model, "features")


class Weighs(nn.Module):
    """Needs values, so it is run for real, and writes to its parameter, a list and a tensor."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.seen, self.table, self.plain = [], {}, torch.zeros(2)

    def forward(self, x):
        if x.sum().item() < 0:
            return x
        self.weight.data.clamp_(max=0.5)
        with torch.no_grad():
            self.weight.mul_(2)
        self.seen.append(x)
        self.table["x"] = x
        self.plain.add_(1)
        return x * self.weight


def test_a_real_run_writes_to_copies():
    model = Weighs()
    seen, table, plain = model.seen, model.table, model.plain
    assert "run for real" in trace(model, (3, 4, 4)).note
    assert trace(model, (3, 4, 4)).kept_bytes > 0
    assert model.weight.item() == 1.0
    assert (model.seen, model.table, model.plain) == (seen, table, plain)
    assert seen == [] and table == {} and not plain.any()


class Waits(nn.Module):
    def __init__(self, go_on):
        super().__init__()
        self.entered, self.go_on, self.inner = threading.Event(), go_on, nn.Conv2d(1, 1, 1)

    def forward(self, x):
        self.entered.set()
        assert self.go_on.wait(10)
        return self.inner(x)


def test_traces_in_two_threads_leave_modules_as_they_were():
    plain, first_is_done = nn.Module.__call__, threading.Event()
    first, second, found = Waits(threading.Event()), Waits(first_is_done), []

    def trace_first():
        found.append(trace(first, (1, 4, 4)).macs)
        first_is_done.set()

    def trace_second():
        found.append(trace(second, (1, 4, 4)).macs)

    overlap(trace_first, trace_second, first.entered, first.go_on)
    assert found == [16, 16] and nn.Module.__call__ is plain


class Aside(nn.Module):
    """While its forward runs, another thread is inside a model of its own."""

    def __init__(self):
        super().__init__()
        self.other = Waits(threading.Event())

    def forward(self, x):
        thread = threading.Thread(target=lambda: self.other(torch.zeros(1, 1, 8, 8)))
        thread.start()
        assert self.other.entered.wait(10)
        y = x * 2
        self.other.go_on.set()
        thread.join(10)
        return y


def test_a_model_that_runs_in_another_thread_is_not_traced():
    assert [(row.path, row.op) for row in trace(Aside(), (3, 8, 8))] == [("", "mul")]
