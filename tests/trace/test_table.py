"""What is read off a trace: totals, folding, rectangles, memory, and how it looks."""

import csv
import io
import json

import numpy as np
import pytest
import torch
from torch import nn

from cnnlab.models import build
from cnnlab.trace.run import trace
from cnnlab.trace.show import compare, csv_text, json_text, markdown, text


@pytest.fixture(scope="module")
def lenet():
    return trace(build("lenet5"), (1, 28, 28))


def small():
    """Two convolutions by hand: 1 -> 2 -> 4 channels on 8x8, the second with stride 2."""
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1),
        nn.Sequential(nn.ReLU(), nn.Conv2d(2, 4, 3, stride=2, bias=False)),
    )


def test_totals_are_the_sums_by_hand():
    table = trace(small(), (1, 8, 8))
    assert table.params == (18 + 2) + 72
    assert table.macs == 18 * 64 + 72 * 9
    assert table.activations == 128 + 128 + 36
    assert table.input_shape == (1, 8, 8)


def test_folding_adds_up_and_keeps_the_order(lenet):
    folded = lenet.fold()
    paths = [row.path for row in folded]
    assert len(paths) == len(set(paths)) < len(lenet)
    for total in ("params", "macs", "activations", "other_ops", "kept_bytes", "peak_live_bytes"):
        assert getattr(folded, total) == getattr(lenet, total)
    shallow = trace(small(), (1, 8, 8)).fold(depth=1)
    assert [row.path for row in shallow] == ["0", "1"]
    assert shallow[1].op == "relu, conv2d"
    assert shallow[1].out_shape == (4, 3, 3)
    assert sum(row.kept_bytes for row in shallow) == shallow.kept_bytes


def test_a_module_is_found_by_its_path():
    table = trace(small(), (1, 8, 8))
    assert table["1"].params == table["1.1"].params == 72
    assert table["1"].macs == 72 * 9
    with pytest.raises(KeyError, match="Did you mean '1.1'"):
        table["1.11"]
    with pytest.raises(KeyError, match="Known: 0, 1.0, 1.1"):
        table["features"]
    with pytest.raises(IndexError, match="row 99 of a table of 3 rows"):
        table[99]
    with pytest.raises(IndexError, match="row -2 of a table of 1 row$"):
        trace(nn.ReLU(), (1, 8))[-2]


def test_kept_bytes_by_hand():
    """The input for conv 0, ReLU's output (conv 0 keeps nothing else): 64 + 128 floats."""
    table = trace(small(), (1, 8, 8))
    assert table.kept_bytes == 4 * (64 + 128)
    assert table.kept_by_dtype == {"float32": 4 * (64 + 128)}
    pooled = trace(nn.Sequential(small(), nn.MaxPool2d(3)), (1, 8, 8))
    assert pooled.kept_by_dtype == {"float32": 4 * (64 + 128 + 36), "int64": 8 * 4}


def test_a_module_called_again_keeps_what_each_call_keeps(lenet):
    """One tanh for all layers: each call keeps its own output."""
    kept = [row.kept_bytes for row in lenet if row.path == "activation"]
    assert kept == [4 * values for values in (6 * 28 * 28, 16 * 10 * 10, 120, 84)]


def test_live_bytes_follow_the_last_use():
    """A shortcut keeps its tensor alive across the branch."""

    class Skip(nn.Module):
        def forward(self, x):
            y = x + 1
            return torch.relu(y * 2) + y

    table = trace(Skip(), (1, 4, 4))
    assert [row.op for row in table] == ["add", "mul", "relu", "add"]
    # input + y; y + product; y + product + relu; relu + y + sum
    assert [row.live_bytes // 64 for row in table] == [2, 2, 3, 3]


def test_vgg16_keeps_73_megabytes_per_image():
    """Floats and the indices of max pooling, apart: no standard count gives 24 M values."""
    with torch.device("meta"):
        model = build("vgg16")
    table = trace(model, (3, 224, 224))
    kept = {kind: round(count / 1e6, 1) for kind, count in table.kept_by_dtype.items()}
    assert kept == {"float32": 61.1, "int64": 12.2}


def test_training_memory_adds_up(lenet):
    memory = lenet.training_memory(batch=32, optimizer="adam")
    assert memory.weights == memory.gradients == 61_706 * 4
    assert memory.optimizer == 2 * memory.weights
    assert memory.activations == 32 * lenet.kept_bytes
    assert memory.total == 4 * memory.weights + memory.activations
    assert lenet.training_memory(optimizer="sgd").optimizer == 0
    assert str(memory).splitlines()[-1].startswith("total")
    with pytest.raises(ValueError, match="optimizer 'lion' is unknown; expected one of"):
        lenet.training_memory(optimizer="lion")
    with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
        lenet.training_memory(batch=0)


def test_training_memory_says_what_nobody_knows(lenet):
    """An LSTM's 4 * 7 * (5 + 7 + 2) = 392 parameters are 1,568 B; what it keeps is unknown."""
    memory = trace(nn.LSTM(5, 7, batch_first=True), (9, 5)).training_memory(8)
    assert memory.unknown and str(memory).splitlines() == [
        "weights        1.6 kB",
        "gradients      1.6 kB",
        "optimizer      1.6 kB",
        "activations       0 B + unknown",
        "total          4.7 kB + unknown",
    ]
    assert "unknown" not in str(lenet.training_memory(8))


def test_frozen_weights_need_no_gradients():
    model = small()
    model.requires_grad_(False)
    memory = trace(model, (1, 8, 8)).training_memory(8)
    assert memory.gradients == memory.optimizer == memory.activations == 0 < memory.weights


def test_box_is_cut_at_the_image():
    table = trace(small(), (1, 8, 8))
    assert table.box("0", 0, 4) == ((0, 1), (3, 5))
    assert table.box("1", 0, 2) == ((0, 3), (3, 7))
    with pytest.raises(ValueError, match=r"unit \(1.5, 2\) does not exist"):
        trace(small(), (1, 8, 8)).box("1", 1.5, 2)
    with pytest.raises(ValueError, match=r"unit \(3, 0\) does not exist: 1 has a map of 3 x 3"):
        table.box("1", 3, 0)


def test_box_takes_numpys_integers_and_says_where_a_field_was_lost():
    three = np.int64(3)
    assert trace(small(), (1, 8, 8)).box("0", three, three) == ((2, 4), (2, 4))

    class Rolled(nn.Module):
        def forward(self, x):
            return torch.roll(x, 1, 2)

    table = trace(nn.Sequential(small()[0], Rolled(), nn.ReLU(), nn.ReLU()), (1, 8, 8))
    for one, path in ((table, "1"), (table, "3"), (table.fold(), "3")):
        said = f"what {path} sees is unknown; it was lost at 1: roll"
        with pytest.raises(ValueError, match=said):
            one.box(path, 3, 3)


def test_share_of_the_image_seen(lenet):
    assert trace(small(), (1, 8, 8))["0"].share_seen == 9 / 64
    assert lenet[-1].share_seen == 1


def test_text_and_html_show_every_row_and_the_totals(lenet):
    assert lenet._repr_mimebundle_()["text/html"].count("<table") == 1  # head and rows: one grid
    whole = "<td>6\u00a0x\u00a028\u00a0x\u00a028<td>", "<td>3.1\u00a0kB<td>"  # on one line each
    assert all(cell in lenet._repr_mimebundle_()["text/html"] for cell in whole)
    for shown in (str(lenet), lenet._repr_mimebundle_()["text/html"]):
        assert "61,706" in shown and "416,520" in shown
        assert shown.count("conv2d") == 2 and shown.count("linear") == 3
    lines = str(lenet).splitlines()
    assert len({line.index("conv2d") for line in lines if "conv2d" in line}) == 1
    html = trace(nn.Sequential(nn.Identity(), nn.ReLU()), (2,))._repr_mimebundle_()["text/html"]
    assert "<td" in html and "<script" not in html


def test_unused_parameters_are_reported():
    model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False))
    model.spare = nn.Parameter(torch.zeros(7))
    model.forward = model[0].forward
    table = trace(model, (1, 2, 2))
    assert table.unused == {"spare": 7} and table.params == 1
    assert "unused parameters   7" in str(table)


def test_comparison_side_by_side(lenet):
    shown = compare(lenet=lenet, small=trace(small(), (1, 8, 8)))
    lines = str(shown).splitlines()
    assert lines[0].split() == ["lenet", "small", "small", "/", "lenet"]
    assert any(line.split() == ["parameters", "61,706", "92", "0.00"] for line in lines)
    assert "61,706" in shown._repr_mimebundle_()["text/html"]


def test_comparisons_lose_no_table_and_refuse_what_is_none(lenet):
    head = str(compare(lenet, LeNet5=lenet)).splitlines()[0]
    assert head.split()[:3] == ["LeNet5", "1", "LeNet5"]
    with pytest.raises(TypeError, match="compare got no table"):
        compare()
    with pytest.raises(TypeError, match=r"compare got LeNet5.*expected tables: compare\(trace"):
        compare(build("lenet5"))


def test_pandas_has_a_line_per_operation(lenet):
    frame = lenet.to_pandas()
    assert len(frame) == len(lenet)
    assert frame.params.sum() == 61_706
    assert list(frame.path) == [row.path for row in lenet]


@pytest.fixture(scope="module")
def resnet152():
    with torch.device("meta"):
        return trace(build("resnet152"), (3, 224, 224))


def test_a_long_table_is_folded_small_and_keeps_its_head(resnet152):
    html = resnet152._repr_mimebundle_()["text/html"]
    assert len(html.encode()) < 100_000
    modules = {row.path.rsplit(".", 1)[0] for row in resnet152 if "." in row.path}
    assert {"layer3", "layer3.35", "layer1.0.downsample"} <= modules
    assert html.count("<details>") == len(modules | {"layer1", "layer2", "layer3", "layer4"})
    assert "position: sticky" in html and html.count("<tr><th>") == 1
    assert html.count("<table") == html.count("table-layout:fixed")  # without the style sheet, too
    opened = trace(build("vgg16"), (3, 32, 32))._repr_mimebundle_()["text/html"]
    assert "<details open>" in opened and "<details>" not in opened


@pytest.mark.parametrize("width", [80, 100, 200])
def test_text_fits_and_names_what_it_leaves_out(resnet152, width):
    shown = text(resnet152, width)
    assert max(map(len, shown.splitlines())) <= width
    gone = [name for name in ("jump", "activations", "kept") if name not in shown.split("\n")[0]]
    assert ("did not fit" in shown) == bool(gone) == (width < 200)
    assert all(name in shown.splitlines()[-1] for name in gone)


def test_equal_notes_are_said_once():
    model = nn.Sequential(*(nn.ReLU() for _ in range(4)))
    for module in model:
        module.forward = lambda x: torch.linalg.inv(torch.matrix_exp(x))
    notes = trace(model, (2, 4, 4))._notes()
    assert len([note for note in notes if "no rule for" in note and "inv" in note]) <= 2
    assert "0, 1 and 2 more: no rule for" in notes[0]


def test_a_comparison_goes_stage_by_stage():
    small_one, large = trace(build("resnet18"), (3, 64, 64)), trace(build("resnet50"), (3, 64, 64))
    lines = [line.split("  ") for line in str(compare(small_one, large)).splitlines()]
    cells = {line[0]: [cell.strip() for cell in line[1:] if cell.strip()] for line in lines}
    assert cells["parameters"] == ["11,689,512", "25,557,032", "2.19"]
    stage = cells["16 x 16: MACs"]
    by_hand = [sum(r.macs for r in t if r.out_shape[1:] == (16, 16)) for t in (small_one, large)]
    assert stage[:2] == [f"{macs:,}" for macs in by_hand] and "head: parameters" in cells


def test_other_forms(lenet):
    rows = list(csv.DictReader(io.StringIO(csv_text(lenet))))
    assert [row["path"] for row in rows] == [row.path for row in lenet]
    assert sum(int(row["macs"]) for row in rows) == lenet.macs
    said = json.loads(json_text(lenet))
    assert said["totals"]["params"] == 61_706 and said["rows"][0]["out_shape"] == [6, 28, 28]
    lines = markdown(lenet).splitlines()
    assert {line.count("|") for line in lines[: len(lenet) + 2]} == {10}
