"""Answers of chapter 02: the receptive-field loop, right and wrong."""

from __future__ import annotations


def my_window(layers):
    """(size, jump, start) after layers of (kernel, stride, padding, dilation)."""
    size, jump, start = 1, 1, 0
    for kernel, stride, padding, dilation in layers:
        size += dilation * (kernel - 1) * jump
        start -= padding * jump
        jump *= stride
    return size, jump, start


def jump_first(layers):
    size, jump, start = 1, 1, 0
    for kernel, stride, padding, dilation in layers:
        jump *= stride
        size += dilation * (kernel - 1) * jump
        start -= padding * jump
    return size, jump, start


def no_jump(layers):
    size, jump, start = 1, 1, 0
    for kernel, stride, padding, dilation in layers:
        size += dilation * (kernel - 1)
        start -= padding * jump
        jump *= stride
    return size, jump, start


def padding_in_pixels(layers):
    size, jump, _ = my_window(layers)
    return size, jump, -sum(padding for _, _, padding, _ in layers)


def padding_adds(layers):
    size, jump, start = my_window(layers)
    return size, jump, -start


def no_dilation(layers):
    return my_window([(kernel, stride, padding, 1) for kernel, stride, padding, _ in layers])


def jumps_added(layers):
    size, jump, start = 1, 1, 0
    for kernel, stride, padding, dilation in layers:
        size += dilation * (kernel - 1) * jump
        start -= padding * jump
        jump += stride - 1
    return size, jump, start


def whole_kernel(layers):
    size, jump, start = 1, 1, 0
    for kernel, stride, padding, dilation in layers:
        size += dilation * kernel * jump
        start -= padding * jump
        jump *= stride
    return size, jump, start
