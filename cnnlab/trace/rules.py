"""A rule per family of operations: its MACs, its other operations, what its outputs see."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from torch import Tensor

from cnnlab.trace import moves, sums
from cnnlab.trace.call import Call, Rule, meet, mix, nth
from cnnlab.trace.sight import Resize, Sight, Slide, Spread


def pointwise(call: Call) -> None:
    """Each output value from the values at its own position; smaller inputs are broadcast."""
    call.other_ops = call.out.numel()
    if len(call.data) > 1:
        meet(call)


def cat(call: Call) -> None:
    """Side by side along a dimension."""
    meet(call, join_dim=call.args["dim"] % call.out.dim())


def stack(call: Call) -> None:
    """Side by side along a new dimension."""
    meet(call, new_dim=call.args["dim"] % call.out.dim())


def _put(call: Call) -> None:
    """Values written at places given by index: positions stay where the index is not of them."""
    x, a, out = call.args.get("self"), call.args, call.out
    sources = [s for s in call.data if s.dim() == out.dim()]
    call.other_ops = max((s.numel() for s in sources if s is not x), default=0)
    same = len(sources) == len(call.data)
    if "indices" in a:  # only a mask has a position per value
        masks = [one for one in a["indices"] if one is not None]
        same = same and len(masks) == 1 and masks[0].shape == out.shape
    else:
        dim = a["dim"] % out.dim()
        axes = {at for s in call.seen for at in s.at if at is not None}
        same = same and dim not in axes
        same = same and all(s.shape[i] == out.shape[i] for s in sources for i in axes)
    if same:
        meet(call)
    elif any(s.at for s in call.seen):
        call.lose(f"{call.name} writes to positions given by an index")


def _conv(call: Call) -> None:
    a, weight = call.args, call.args["weight"]
    call.macs = call.out.numel() * (weight.numel() // weight.shape[0])
    call.other_ops = call.out.numel() if a["bias"] is not None else 0

    kernel, padding = weight.shape[2:], a["padding"]
    if isinstance(padding, str):  # "same" puts the odd pixel on the right
        same = [nth(a["dilation"], i) * (k - 1) // 2 for i, k in enumerate(kernel)]
        padding = same if padding == "same" else 0
    _slide(call, kernel, a["stride"], padding, a["dilation"])
    _weighted(call)


def _weighted(call: Call) -> None:
    """A weight that is itself made of the image brings context."""
    call.context |= len(call.data) > 1
    if call.data[0] is call.args.get("weight") and call.at:
        call.lose(f"{call.name} of a weight that is made of the image is not followed")


def _conv_transpose(call: Call) -> None:
    a, x, weight = call.args, call.args["input"], call.args["weight"]
    call.macs = x.numel() * (weight.numel() // weight.shape[0])
    call.other_ops = call.out.numel() if a["bias"] is not None else 0
    offset = x.dim() - (weight.dim() - 2)

    def step(sight: Sight, dim: int):
        if dim < offset:
            return sight.whole(), None
        taps = weight.shape[2:], a["stride"], a["padding"], a["dilation"]
        spread = Spread(*(nth(t, dim - offset) for t in taps))
        return sight.spread(spread, call.out.shape[dim]), dim

    call.each(step)
    _weighted(call)


def _pool(call: Call) -> None:
    a = call.args
    axes = int(call.name.removesuffix("_with_indices")[-2])
    kernel = [nth(a["kernel_size"], i) for i in range(axes)]
    call.other_ops = call.out.numel() * prod(kernel)
    _slide(call, kernel, a.get("stride") or kernel, a["padding"], a.get("dilation") or 1)


def _slide(call: Call, kernel: Sequence[int], *taps: int | Sequence[int]) -> None:
    """A kernel over the last dimensions: its size, stride, padding, dilation.

    An image axis among the channels is used up.
    """
    offset = call.out.dim() - len(kernel)

    def step(sight: Sight, dim: int):
        if dim < offset:
            return sight.whole(), None
        slide = Slide(kernel[dim - offset], *(nth(t, dim - offset) for t in taps))
        return sight.slide(slide, call.out.shape[dim]), dim

    call.each(step)


def _resize(call: Call) -> None:
    """Adaptive pooling and upsampling."""
    kinds = ("adaptive", "adaptive"), ("exact", "exact"), ("nearest", "nearest"), ("cubic", "cubic")
    mode = next((mode for part, mode in kinds if part in call.name), "linear")
    smooth = call.name.endswith("_aa")
    call.other_ops = max(call.out.numel(), call.data[0].numel())
    corners, factors = bool(call.args.get("align_corners")), _scale_factors(call)
    if smooth and corners:
        return call.lose(f"no rule for the receptive field of {call.name} with align_corners")

    def step(sight: Sight, dim: int):
        size, out = call.data[0].shape[dim], call.out.shape[dim]
        if size == out or (dim < 2 and call.data[0].dim() > 3):
            return sight, dim
        factor = factors[dim - 2] if factors and not corners else None
        return sight.resize(Resize(size, out, mode, corners, factor, smooth)), dim

    call.each(step)


def _scale_factors(call: Call) -> Sequence[float | None] | None:
    """Per image axis, where `F.interpolate` was given factors: PyTorch then scales by them."""
    axes = call.data[0].dim() - 2
    names = ("scales",) if axes == 1 else ("scales_d", "scales_h", "scales_w")[-axes:]
    return call.args.get("scale_factors") or [call.args.get(name) for name in names]


def _linear(call: Call) -> None:
    """Works on the last dimension, at every position of the others."""
    call.macs = call.out.numel() * call.args["weight"].shape[1]
    call.other_ops = call.out.numel() if call.args.get("bias") is not None else 0
    last = call.data[0].dim() - 1
    call.each(lambda sight, dim: (sight.whole(), None) if dim == last else (sight, dim))
    _weighted(call)


def _matmul(call: Call) -> None:
    left, right = (x for x in call.args.values() if isinstance(x, Tensor) and x.dim() > 0)
    call.macs = call.out.numel() * left.shape[call.args.get("dim", -1)]  # only vecdot has a dim
    mix(call)


def _addmm(call: Call) -> None:
    left = next(call.args[name] for name in ("mat1", "batch1", "mat") if name in call.args)
    call.macs = call.out.numel() * left.shape[-1]
    call.other_ops = call.out.numel()
    mix(call)


def _einsum(call: Call) -> None:
    """Two operands at a time, in PyTorch's order; what only one of them has is summed before."""
    operands, (left, *right) = (
        call.args["tensors"],
        call.args["equation"].replace(" ", "").split("->"),
    )
    sizes: dict[str, int] = {}
    terms = []
    for term, operand in zip(left.split(","), operands):
        rest = operand.dim() - len(term.replace("...", ""))
        letters = term.replace("...", "".join(chr(945 + i) for i in reversed(range(rest))))
        for letter, size in zip(letters, operand.shape):
            sizes[letter] = max(size, sizes.get(letter, 1))
        terms.append(set(letters))
    greek = {letter for letter in sizes if letter > "z"}
    once = {letter for letter in sizes if left.count(letter) == 1}
    end = set(right[0].replace("...", "")) | greek if right else once | greek
    call.macs, order = 0, list(call.args.get("path") or [])
    while len(terms) > 1:
        pair = sorted(order[:2] or (0, 1), reverse=True)
        first, second = (terms.pop(i) for i in pair)
        later, both = end.union(*terms), first & second
        if both - later:  # else they are only multiplied
            call.macs += prod(sizes[c] for c in first | second if c in later or c in both)
        terms.insert(len(terms) if order else 0, (first | second) & later)
        order = order[2:]
    call.other_ops = sum(x.numel() for x in operands) if len(operands) == 1 else 0
    mix(call)


def _tensordot(call: Call) -> None:
    x, dims = call.args["self"], call.args["dims_self"]
    call.macs = call.out.numel() * prod(x.shape[dim] for dim in dims)
    mix(call)


def _bilinear(call: Call) -> None:
    """x W y for every output: first W y, then x with that."""
    outputs, left, right = call.args["weight"].shape
    call.macs = call.out.numel() // outputs * (outputs * left * right + outputs * left)
    call.other_ops = call.out.numel() if call.args.get("bias") is not None else 0
    mix(call)


def _recurrent(call: Call) -> None:
    """Every weight once per position of every sequence; cells see one position."""
    a, x = call.args, call.args["data" if "data" in call.args else "input"]
    cell = [a["w_ih"], a["w_hh"]] if "w_ih" in a else a["params"]
    weights = sum(w.numel() for w in cell if w.dim() == 2)
    call.macs = x.numel() // x.shape[-1] * weights
    call.other_ops = 4 * call.out.numel()
    mix(call)


def _deform_conv(call: Call) -> None:
    weight = call.args["weight"]
    call.macs = call.out.numel() * (weight.numel() // weight.shape[0])
    call.lose(f"{call.name} reads where its offsets say")


def _sample(call: Call) -> None:
    """Values read between pixels, at places that are computed."""
    call.other_ops = 4 * call.out.numel()
    if any(seen.at for seen in call.seen):
        call.lose(f"{call.name} reads where its second input says")


def _affine_grid(call: Call) -> None:
    call.macs = call.out.numel() * call.args["theta"].shape[-1]
    mix(call)


def _attention(call: Call) -> None:
    query, key, value = (call.args[name] for name in ("query", "key", "value"))
    scores = query.numel() // query.shape[-1] * key.shape[-2]
    call.macs = scores * (query.shape[-1] + value.shape[-1])
    call.other_ops = scores
    mix(call)


def _no_arithmetic(call: Call) -> None:
    """A look-up, or channels that change places."""


def unknown(call: Call) -> None:
    """Nothing is guessed: the row says that there is no rule, and how to add one."""
    call.macs = None
    why = (
        f"no rule for {call.name}: its MACs and receptive field are unknown; "
        f"add one with trace(..., rules={{{call.name!r}: rule}})"
    )
    call.lose(why)
    call.note = why


# Pointwise operations that PyTorch does not tag as such.
POINTWISE = frozenset(
    "dropout feature_dropout alpha_dropout relu6 hardtanh hardswish hardsigmoid selu silu mish "
    "contiguous clone detach alias to _to_copy type_as prelu leaky_relu rrelu celu copy lift_fresh "
    "bernoulli zero fill masked_fill where clamp pow square float half native_dropout softplus "
    "requires_grad to_dense log_sigmoid resolve_conj resolve_neg floor_divide true_divide cpu "
    "feature_alpha_dropout normal uniform exponential random bucketize __and__ __or__ "
    "__xor__ complex polar".split()
)

_FAMILIES: list[tuple[str, Rule]] = [
    ("conv1d conv2d conv3d convolution", _conv),
    ("conv_transpose1d conv_transpose2d conv_transpose3d", _conv_transpose),
    ("torchvision::deform_conv2d", _deform_conv),
    ("max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool3d_with_indices", _pool),
    ("avg_pool1d avg_pool2d avg_pool3d", _pool),
    ("adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d", _resize),
    ("adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d", _resize),
    ("upsample_nearest1d upsample_nearest2d upsample_nearest3d", _resize),
    ("_upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d", _resize),
    ("upsample_linear1d upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d", _resize),
    ("_upsample_bilinear2d_aa _upsample_bicubic2d_aa", _resize),
    ("linear", _linear),
    ("embedding channel_shuffle native_channel_shuffle one_hot", _no_arithmetic),
    ("real imag view_as_real view_as_complex", _no_arithmetic),
    ("matmul mm bmm dot vdot inner mv linalg_vecdot", _matmul),
    ("addmm baddbmm addmv", _addmm),
    ("einsum", _einsum),
    ("tensordot", _tensordot),
    ("bilinear", _bilinear),
    ("lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell", _recurrent),
    ("scaled_dot_product_attention", _attention),
    ("batch_norm _weight_norm _weight_norm_interface", sums.batch_norm),
    ("layer_norm group_norm instance_norm rms_norm", sums.spatial_norm),
    ("cosine_similarity pairwise_distance", sums.distance),
    ("cdist", sums.all_pairs),
    ("fft_fft fft_ifft fft_rfft fft_irfft fft_hfft fft_ihfft fft_fftn fft_ifftn", sums.fourier),
    ("fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2 fft_rfftn fft_irfftn", sums.fourier),
    ("cross_entropy_loss nll_loss_nd mse_loss l1_loss smooth_l1_loss huber_loss kl_div", sums.loss),
    ("binary_cross_entropy binary_cross_entropy_with_logits soft_margin_loss", sums.loss),
    ("cosine_embedding_loss triplet_margin_loss poisson_nll_loss hinge_embedding_loss", sums.loss),
    ("margin_ranking_loss multi_margin_loss multilabel_margin_loss ctc_loss", sums.loss),
    ("sum mean amax amin max min var std var_mean argmax argmin logsumexp prod norm", sums.reduce),
    ("linalg_vector_norm frobenius_norm any all median nanmedian mode aminmax nansum", sums.reduce),
    ("softmax log_softmax cumsum cumprod cummax glu sort topk argsort logcumsumexp", sums.along),
    ("view reshape flatten unflatten squeeze unsqueeze _unsafe_view view_as ravel", moves.view),
    ("reshape_as _reshape_alias", moves.view),
    ("permute transpose swapaxes swapdims t numpy_T matrix_H mT mH", moves.permute),
    ("movedim moveaxis", moves.permute),
    ("expand expand_as broadcast_to", moves.expand),
    ("chunk split split_with_sizes unbind select tensor_split unsafe_chunk", moves.split),
    ("slice narrow", moves.cut),
    ("pad constant_pad_nd _pad_circular reflection_pad2d replication_pad2d", moves.pad),
    ("cat concat concatenate", cat),
    ("stack", stack),
    ("index index_select gather roll flip take repeat tile repeat_interleave", moves.select),
    ("fft_fftshift fft_ifftshift rot90 diff", moves.select),
    ("triu tril im2col col2im unfold max_unpool2d take_along_dim", moves.select),
    ("nonzero masked_select unique _unique2 argwhere torchvision::nms", moves.select),
    ("_pack_padded_sequence _pad_packed_sequence", moves.select),
    ("index_put index_add index_copy index_fill scatter scatter_add scatter_reduce", _put),
    ("_index_put_impl index_reduce masked_scatter", _put),
    ("pixel_shuffle pixel_unshuffle", moves.shuffle),
    ("grid_sampler torchvision::roi_align torchvision::roi_pool", _sample),
    ("embedding_bag fractional_max_pool2d fractional_max_pool3d", _sample),
    ("affine_grid_generator", _affine_grid),
]
RULES = {name: rule for names, rule in _FAMILIES for name in names.split()}
