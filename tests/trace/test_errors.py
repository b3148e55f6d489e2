"""Bad input: the module, the shape that it got, and the next step."""

import re

import pytest
import torch
from torch import nn

from cnnlab.trace.run import TraceError, trace
from tests.trace.test_unharmed import Fails


class WrongName(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(1, 1, 1), Fails())

    def forward(self, x):
        return self.inner(x)


@pytest.mark.parametrize(
    "model, shape, message",
    [
        (
            nn.Sequential(nn.Conv2d(3, 8, 3)),
            (1, 8, 8),
            "0 (Conv2d, conv2d) got (1, 8, 8): it has 1 channel where the weight expects 3; "
            "give an input with 3 channels, or build the model for 1",
        ),
        (
            nn.Sequential(nn.Conv2d(1, 1, 3, stride=2), nn.MaxPool2d(4)),
            (1, 6, 6),
            "1 (MaxPool2d, max_pool2d) got (1, 2, 2): kernel 4 does not fit size 2 with padding "
            "0: pad by at least 1 on each side, or use a kernel that spans at most 2; one pixel "
            "here is 2 pixels of the input, so give it a larger image",
        ),
        (
            nn.Conv1d(1, 1, 4),
            (1, 3),
            "Conv1d (Conv1d, conv1d) got (1, 3): kernel 4 does not fit size 3 with padding 0",
        ),
        (
            nn.Conv2d(1, 1, 3, padding="valid"),
            (1, 5, 2),
            "Conv2d (Conv2d, conv2d) got (1, 5, 2): kernel 3 does not fit size 2 with padding 0",
        ),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(9, 2)),
            (1, 4, 4),
            "1 (Linear, linear) got (16,): it has 16 features where the weight expects 9; "
            "build it as nn.Linear(16, 2), or give inputs of another size",
        ),
        (
            nn.Sequential(nn.Conv2d(1, 8, 1), nn.BatchNorm2d(16)),
            (1, 4, 4),
            "1 (BatchNorm2d, batch_norm) got (8, 4, 4): it has 8 channels where the normalization "
            "expects 16; build it for 8",
        ),
        (
            nn.Sequential(nn.Conv2d(1, 4, 1), nn.ConvTranspose2d(8, 4, 2, 2)),
            (1, 4, 4),
            "1 (ConvTranspose2d, conv_transpose2d) got (4, 4, 4): it has 4 channels where the "
            "weight expects 8; let the layer before it make 8 channels, or build this one for 4",
        ),
        (
            nn.Sequential(nn.Conv2d(1, 4, 1), nn.PReLU(8)),
            (1, 4, 4),
            "1 (PReLU, prelu) got (4, 4, 4): it has 4 channels where the slopes are 8; build it as "
            "nn.PReLU(4)",
        ),
        (
            WrongName(),
            (1, 4, 4),
            'inner.1 (Fails) fails on (1, 4, 4): "a learner\'s slip" [KeyError] (test_unharmed.py',
        ),
        (
            nn.LazyConv2d(4, 3),
            (1, 4, 4),
            "weight has no shape yet, because its module is lazy: run the model once on a batch, "
            "then trace it",
        ),
        (
            nn.Sequential(torch.jit.script(nn.ReLU())),
            (1, 4, 4),
            "0 is TorchScript, which hides its operations: trace the module that it was made from",
        ),
        (nn.Flatten(), (1, 0, 4), "an input shape has positive sizes, got (1, 0, 4)"),
        (
            nn.Flatten(),
            "a picture",
            "an input is a shape such as (3, 224, 224), an example tensor, a list, tuple or dict "
            "of those, a number, a flag or None; got 'a picture'",
        ),
    ],
)
def test_errors_name_the_module_the_shape_and_the_next_step(model, shape, message):
    with pytest.raises(TraceError) as caught:
        trace(model, shape)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "model, message",
    [
        (None, "trace got None, expected a module, such as build('resnet50')"),
        (nn.ReLU, "expected a module, such as ReLU(...)"),
        ("resnet", "trace got 'resnet', expected a module"),
    ],
)
def test_what_is_no_module_is_refused(model, message):
    with pytest.raises(TraceError, match=re.escape(message)):
        trace(model, (3, 8, 8))


@pytest.mark.parametrize(
    "fits, too_wide",
    [
        (nn.MaxPool2d(2, padding=1), nn.MaxPool2d(2, padding=2)),
        (nn.MaxPool2d(3, padding=2, dilation=2), nn.MaxPool2d(3, padding=3, dilation=2)),
        (nn.AvgPool2d((2, 4), padding=(1, 2)), nn.AvgPool2d((4, 2), padding=(1, 2))),
        (nn.AvgPool3d(2, padding=1), nn.AvgPool3d(2, padding=2)),
    ],
)
def test_a_pooling_is_padded_by_at_most_half_of_what_it_spans(fits, too_wide):
    shape = (1, *[8] * (3 if isinstance(fits, nn.AvgPool3d) else 2))
    trace(fits, shape)
    with pytest.raises(TraceError, match="pad should be at most half of"):
        trace(too_wide, shape)


def test_that_a_model_fails_by_itself_is_said_only_where_it_does():
    with pytest.raises(TraceError, match="Outside of trace, model.* fails in the same way"):
        trace(Fails(), (1, 4, 4))
    sparse = torch.eye(4).to_sparse()
    assert nn.Linear(4, 2)(sparse).shape == (4, 2)
    with pytest.raises(TraceError, match="The model itself runs on it") as caught:
        trace(nn.Linear(4, 2), sparse)
    assert "in the same way" not in str(caught.value)


def test_a_quantized_module_is_named():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    quantized = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    with pytest.raises(TraceError, match="2 is quantized .Linear.: trace the float model"):
        trace(quantized, (3, 8, 8))


def test_a_shape_with_the_batch_in_it_is_recognized():
    with pytest.raises(TraceError, match=re.escape("without the batch: (3, 8, 8)")):
        trace(nn.Sequential(nn.Conv2d(3, 4, 3)), (1, 3, 8, 8))


def test_no_input_is_an_error():
    with pytest.raises(TraceError, match="give it a shape such as"):
        trace(nn.ReLU())


def test_a_failing_forward_keeps_its_own_words():
    with pytest.raises(TraceError, match="a learner's slip.*KeyError") as caught:
        trace(Fails(), (1, 4, 4))
    assert isinstance(caught.value.__cause__, KeyError)
