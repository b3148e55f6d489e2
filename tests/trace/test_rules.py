"""Rules of single operations: MACs beside PyTorch's counter, sight beside the gradient's support,
bytes kept beside a real pass."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from cnnlab.models import build
from cnnlab.trace.run import trace
from tests.trace.real import kept_for_real
from tests.trace.test_inputs import module

W = torch.ones(5, 4)
COUNTED = {
    "einsum with dots": lambda s, x: torch.einsum("...j,jk->...k", x, W),
    "einsum with dots alone": lambda s, x: torch.einsum("...j,jk", x, W),
    "einsum of three": lambda s, x: torch.einsum("bij,jk,kl->bil", x, W, torch.ones(4, 2)),
    "einsum of four": lambda s, x: torch.einsum(
        "bij,jk,kl,bi->l", x, W, torch.ones(4, 2), x.sum(2)
    ),
    "einsum of one": lambda s, x: torch.einsum("bij->bji", x) * 1,
    "einsum summed before": lambda s, x: torch.einsum("bij,kl->bi", x, W),
    "einsum on the diagonal": lambda s, x: torch.einsum("bii->bi", x[:, :, :3]) * 1,
    "einsum broadcast": lambda s, x: torch.einsum("...ij,...jk->...ik", x[:, None], W),
    "tensordot": lambda s, x: torch.tensordot(x, W, 1),
    "inner": lambda s, x: torch.inner(x, W.T),
}


@pytest.mark.parametrize("forward", COUNTED.values(), ids=COUNTED)
def test_products_are_counted_as_pytorch_does_them(forward):
    model = module(forward)
    with FlopCounterMode(display=False) as counter:
        model(torch.ones(1, 3, 5))
    table = trace(model, (3, 5))
    assert table.macs == counter.get_total_flops() // 2 and not table.unknown


PRODUCTS = {  # of (3, 5): operation -> MACs by hand
    "addmv": (lambda s, x: torch.addmv(torch.ones(3), x[0], torch.ones(5)), 3 * 5),
    "addmm": (lambda s, x: torch.addmm(torch.ones(4), x[0], W), 3 * 5 * 4),
    "baddbmm": (lambda s, x: torch.baddbmm(torch.ones(4), x, W[None]), 3 * 5 * 4),
    "vecdot": (lambda s, x: torch.linalg.vecdot(x, x), 3 * 5),
    "vecdot of channels": (lambda s, x: torch.linalg.vecdot(x, x, dim=1), 3 * 5),
}


@pytest.mark.parametrize("forward, macs", PRODUCTS.values(), ids=PRODUCTS)
def test_products_that_pytorchs_counter_leaves_out(forward, macs):
    table = trace(module(forward), (3, 5))
    assert table.macs == macs and not table.unknown


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}])
def test_recurrent_layers_are_one_row(kind, options):
    """Every weight matrix once per position of the sequence."""
    layer = kind(5, 7, batch_first=True, **options)
    model = module(lambda s, x: s.head(s.layer(x)[0]), layer=layer, head=nn.LazyLinear(2))
    model(torch.zeros(1, 9, 5))
    weights = sum(p.numel() for name, p in layer.named_parameters() if "weight" in name)
    table = trace(model, (9, 5))
    assert [row.op for row in table][1] == "linear" and len(table) == 2 and not table.unknown
    assert table["layer"].macs == 9 * weights
    assert table["layer"].out_shape == (9, 14 if options else 7)
    assert table.params == sum(p.numel() for p in model.parameters())
    kept = table["layer"].kept_bytes
    if kind is nn.LSTM:
        assert kept is None and table.totals()["kept for backward"].endswith("+ unknown")
    else:
        assert table.kept_bytes == kept_for_real(model, torch.zeros(1, 9, 5)) > 0


def test_cells_and_packed_sequences():
    cell = nn.LSTMCell(5, 7)
    table = trace(cell, (5,))
    assert (len(table), table.macs) == (1, 28 * 12)

    def forward(self, x):
        packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([9]), batch_first=True)
        return nn.utils.rnn.pad_packed_sequence(self.gru(packed)[0], batch_first=True)[0]

    table = trace(module(forward, gru=nn.GRU(5, 7, batch_first=True)), (9, 5))
    assert table.macs == 9 * 3 * 7 * 12 and not table.unknown and "run for real" in table.note


FOLLOWED = {
    "stack": lambda s, x: torch.stack([x, s.c(x)], 1).sum(1),
    "stack in front": lambda s, x: torch.stack([x, s.c(x)]).mean(0),
    "reshape_as": lambda s, x: s.c(x).reshape_as(x) * 2,
    "pixel_shuffle": lambda s, x: F.pixel_shuffle(s.c(x), 2),
    "pixel_unshuffle": lambda s, x: F.pixel_unshuffle(s.c(x), 2),
    "shuffled and convolved": lambda s, x: s.d(F.pixel_shuffle(s.c(x), 2)),
    "channels by index": lambda s, x: s.c(x)[:, torch.tensor([3, 0])] * 2,
    "index_select": lambda s, x: s.c(x).index_select(1, torch.tensor([1, 1])) * 2,
    "channels reversed": lambda s, x: s.c(x).flip(1) * 2,
    "channels repeated": lambda s, x: s.c(x).repeat(1, 2, 1, 1) * 2,
    "added by index": lambda s, x: x.index_add(1, torch.tensor([3, 2, 1, 0]), s.c(x)),
    "masked": lambda s, x: torch.where(s.c(x) > 1e9, 0.0, s.c(x)),
    "bicubic up": lambda s, x: F.interpolate(s.c(x), size=(23, 17), mode="bicubic"),
    "bicubic down": lambda s, x: F.interpolate(s.c(x), size=(7, 5), mode="bicubic"),
    "bicubic corners": lambda s, x: F.interpolate(
        s.c(x), size=(23, 9), mode="bicubic", align_corners=True
    ),
    "smooth bicubic": lambda s, x: F.interpolate(
        s.c(x), size=(5, 7), mode="bicubic", antialias=True
    ),
    "smooth bilinear": lambda s, x: F.interpolate(
        s.c(x), size=(5, 27), mode="bilinear", antialias=True
    ),
    "narrowed": lambda s, x: s.c(s.c(x).narrow(2, 1, 10)),
    "narrowed from the end": lambda s, x: s.c(x).narrow(3, -4, 3) * 2,
    "nearest-exact": lambda s, x: F.interpolate(s.c(x), size=(7, 23), mode="nearest-exact"),
}


def positive():
    """Convolutions through which every pixel comes: weights of one."""
    c, d = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.Conv2d(1, 1, 3, padding=1, bias=False)
    nn.init.ones_(c.weight), nn.init.ones_(d.weight)
    return {"c": c.double(), "d": d.double()}


@pytest.mark.parametrize("forward", FOLLOWED.values(), ids=FOLLOWED)
def test_positions_are_followed(forward):
    """Every unit's box is the support of its gradient."""
    model = module(forward, **positive())
    table = trace(model, (4, 12, 10))
    assert table.output.sights is not None, table._notes()
    x = torch.rand(1, 4, 12, 10, dtype=torch.float64, requires_grad=True)
    out = model(x)
    last = len(table) - 1
    height, width = out.shape[2:]
    for unit in {(r, r * width // height) for r in range(height)} | {(0, width - 1)}:
        (grad,) = torch.autograd.grad(out[0, :, unit[0], unit[1]].sum(), x, retain_graph=True)
        lit = (grad[0].abs().sum(0) > 1e-13).nonzero()
        box = tuple((int(axis.min()), int(axis.max())) for axis in lit.T)
        assert table.box(last, *unit) == box, unit


TARGET = torch.zeros(1, 12, 10, dtype=torch.long)
SUMMED = {  # operation -> receptive field (all of it, 12 x 10, through 3 x 3) and other ops by hand
    "cosine": (lambda s, x: F.cosine_similarity(x, s.c(x)), "3", 3 * 480),
    "distance": (
        lambda s, x: F.pairwise_distance(s.c(x).movedim(1, 3), x.movedim(1, 3)),
        "3",
        1440,
    ),
    "cdist": (lambda s, x: torch.cdist(s.c(x).movedim(1, 3), W.double()), "3", 3 * 600 * 4),
    "cdist of the image": (lambda s, x: torch.cdist(s.c(x), s.c(x)), "?", 3 * 576 * 10),
    "fft": (lambda s, x: torch.fft.fft2(s.c(x)).abs(), "14 x 12", 5 * 480 * 7 + 480),
    "fft of channels": (lambda s, x: torch.fft.fft(s.c(x), dim=1).abs(), "3", 5 * 480 * 2 + 480),
    "gated by fft": (lambda s, x: x * torch.fft.fft2(s.c(x)).abs().sum(), "1 + context", None),
    "cross entropy": (lambda s, x: F.cross_entropy(s.c(x), TARGET), "14 x 12", 3 * 480),
    "squared error": (lambda s, x: F.mse_loss(s.c(x), x), "14 x 12", 3 * 480),
    "made kernel": (lambda s, x: F.conv2d(x, x.mean((2, 3)).view(1, 4, 1, 1)), "1 + context", None),
}


@pytest.mark.parametrize("forward, field, other", SUMMED.values(), ids=SUMMED)
def test_distances_transforms_losses_and_made_weights(forward, field, other):
    model = module(forward, **positive())
    table = trace(model, (4, 12, 10))
    assert not table.unknown and table.macs == sum(r.macs for r in table if "conv" in r.op)
    assert table.totals()["receptive field"] == field
    if other is not None:
        assert sum(row.other_ops for row in table) == other
    x = torch.rand(1, 4, 12, 10, dtype=torch.float64)
    assert table.kept_bytes == kept_for_real(model, x)


def test_tensors_that_are_broadcast_each_see_their_own():
    def forward(self, x):
        near, far = torch.broadcast_tensors(x, self.c(x))
        return near * 2, far * 2

    table = trace(module(forward, **positive()), (4, 12, 10))
    assert [row.receptive_field[0] for row in table if row.op == "mul"] == [1, 3]


LOST = {
    "rolled": lambda s, x: s.c(torch.roll(s.c(x), 1, 2)),
    "flipped": lambda s, x: s.c(s.c(x).flip(3)),
    "gathered": lambda s, x: s.c(s.c(x)[:, :, torch.tensor([3, 0, 1])]),
    "sampled": lambda s, x: F.grid_sample(s.c(x), torch.zeros(1, 4, 4, 2).double()),
    "the largest": lambda s, x: s.c(s.c(x).topk(4, dim=-1)[0]),
    "halves gated": lambda s, x: s.c(F.glu(s.c(x), dim=-1)),
    "written by index": lambda s, x: x.index_copy(2, torch.tensor([1]), s.c(x)[:, :, :1]),
}


@pytest.mark.parametrize("forward", LOST.values(), ids=LOST)
def test_a_total_over_a_lost_field_is_a_question_mark_and_says_where(forward):
    table = trace(module(forward, **positive()), (4, 12, 10))
    assert table.totals()["receptive field"] == "?" and not table.unknown
    said = [note for note in table._notes() if note.startswith("the receptive field was lost at")]
    assert len(said) == len(table._notes()) == 1 and "Mine: " in said[0]


@pytest.mark.parametrize("larger", [torch.max, torch.min, torch.maximum])
def test_the_larger_of_two_tensors_is_no_reduction(larger):
    """A value of each per value of the output: 4 * 12 * 10 comparisons of what 3 x 3 see."""
    model = module(lambda s, x: larger(s.c(x), s.c(x) * 2), **positive())
    table = trace(model, (4, 12, 10))
    assert table[-1].receptive_field == (3, 3) and table[-1].other_ops == 480
    gated = module(lambda s, x: larger(x, s.c(x).amax((2, 3), keepdim=True)), **positive())
    assert trace(gated, (4, 12, 10)).totals()["receptive field"] == "1 + context"


def test_context_goes_on():
    def gate(self, x):
        return self.d(self.c(x) * x.mean((2, 3), keepdim=True))

    c, d = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))
    table = trace(module(gate, c=c, d=d), (4, 12, 10))
    assert [row.context for row in table if row.path] == [False, True]
    assert table.totals()["receptive field"] == "5 + context"
    norm = trace(nn.Sequential(nn.GroupNorm(1, 4), c), (4, 12, 10))
    assert norm.totals()["receptive field"] == "3 + context"


MASKS = {
    "of positions": (lambda: torch.zeros(49, 49), {}),
    "of heads": (lambda: torch.zeros(1, 4, 49, 49), {}),
    "true or false": (lambda: torch.ones(49, 49, dtype=torch.bool), {}),
    "learned": (lambda: nn.Parameter(torch.zeros(4, 49, 49)), {}),
    "of three dimensions": (lambda: torch.zeros(4, 49, 49), {}),
    "none": (lambda: None, {}),
    "causal": (lambda: None, {"is_causal": True}),
    "dropout": (lambda: None, {"dropout_p": 0.1}),
}


@pytest.mark.parametrize("mask, options", MASKS.values(), ids=MASKS)
def test_attention_keeps_what_a_cpu_keeps(mask, options):
    held = mask()

    def forward(self, x):
        parts = (layer(x).view(1, -1, 4, 8).transpose(1, 2) for layer in self.layers)
        return F.scaled_dot_product_attention(*parts, attn_mask=held, **options)

    model = module(forward, layers=nn.ModuleList(nn.Linear(32, 32) for _ in range(3)))
    assert trace(model, (49, 32)).kept_bytes == kept_for_real(model, torch.rand(1, 49, 32))


def test_same_padding_of_even_kernels_keeps_the_padded_map():
    layers = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 8, 4, padding="same"), nn.ReLU()
    model = nn.Sequential(*layers)
    assert trace(model, (3, 32, 32)).kept_bytes == kept_for_real(model, torch.rand(1, 3, 32, 32))


def test_autocast_in_forward_is_measured_and_said():
    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = self.conv(x).relu()
        return self.head(y.float().flatten(1))

    parts = {"conv": nn.Conv2d(3, 8, 3, padding=1), "head": nn.Linear(8 * 64, 5)}
    model = module(forward, **parts)
    table = trace(model, (3, 8, 8))
    assert table.kept_bytes == kept_for_real(model, torch.rand(1, 3, 8, 8))
    assert "bfloat16" in table.kept_by_dtype and "forward uses autocast" in table.note
    table = trace(model.to("meta"), (3, 8, 8))
    assert table.kept_bytes == 0 and len(table.unknown_kept) == len(table)


def test_a_modules_output_is_what_it_returns():
    """Also where a view comes last: ConvNeXt's norm turns its map, and turns it back."""
    table = trace(build("convnext_tiny"), (3, 64, 64))
    assert table["features.0.1"].out_shape == (96, 16, 16)
    assert {r.out_shape for r in table if r.path == "features.0.1"} == {(96, 16, 16)}

    def halves(self, x):
        return x.view(4, 2, -1)

    table = trace(nn.Sequential(nn.Conv2d(3, 8, 1), module(halves), nn.ReLU()), (3, 4, 4))
    assert table[-1].out_shape == (4, 2, 16)  # of a batch of one, no batch is left in front


def test_a_model_of_sequences_returns_what_it_returns():
    """Its last row is another tensor: the weights of attention, averaged."""
    table = trace(nn.MultiheadAttention(32, 4, batch_first=True), (20, 32), (20, 32), (20, 32))
    assert table.output.out_shape == (20, 32) != table[-1].out_shape
