"""The passes over memory, in Triton: every tensor is [rows, channels], a pixel of the batch per row.

Sums are made in two steps, parts of the rows by programs of their own and then the parts in their order, so a result
repeats to the bit. `moments` holds four rows of a batch normalisation: mean, 1 / deviation, scale and shift.

Source of batch normalisation and its gradient: Ioffe and Szegedy 2015, arXiv:1502.03167.
"""

import triton
import triton.language as tl


@triton.jit
def moment_sums(
    x, centre, sums, squares, rows, channels, chunk, TILE_M: tl.constexpr, TILE_C: tl.constexpr, STAGES: tl.constexpr
):
    """Per part of the rows, sums of what is above `centre` and of its square: float32 [parts, channels] each."""
    column = tl.program_id(0) * TILE_C + tl.arange(0, TILE_C)
    part = tl.program_id(1)
    last = tl.minimum((part + 1) * chunk, rows)
    # About the running mean, for differences of large squares lose their digits.
    middle = tl.load(centre + column)[None, :]
    total = tl.zeros((TILE_M, TILE_C), tl.float32)
    square = tl.zeros((TILE_M, TILE_C), tl.float32)
    for start in tl.range(part * chunk, last, TILE_M, num_stages=STAGES):
        row = start + tl.arange(0, TILE_M)
        there = row[:, None] < last
        value = tl.load(x + row[:, None] * channels + column[None, :], mask=there, other=0.0).to(tl.float32)
        above = tl.where(there, value - middle, 0.0)
        total += above
        square += above * above
    tl.store(sums + part * channels + column, tl.sum(total, 0))
    tl.store(squares + part * channels + column, tl.sum(square, 0))


@triton.jit
def _added(parts_of, column, channels, parts, PARTS: tl.constexpr):
    part = tl.arange(0, PARTS)
    there = part[:, None] < parts
    return tl.sum(tl.load(parts_of + part[:, None] * channels + column[None, :], mask=there, other=0.0), 0)


@triton.jit
def moments_of_sums(
    sums, squares, moments, running_mean, running_var, weight, bias, rows, channels, parts, eps, momentum,
    PARTS: tl.constexpr, TILE_C: tl.constexpr,
):  # fmt: skip
    """From the sums of all parts to `moments`; the running mean and variance move on."""
    column = tl.program_id(0) * TILE_C + tl.arange(0, TILE_C)
    middle = tl.load(running_mean + column)
    spread = tl.load(running_var + column)
    gain = tl.load(weight + column)
    base = tl.load(bias + column)
    above = _added(sums, column, channels, parts, PARTS) / rows
    variance = tl.maximum(_added(squares, column, channels, parts, PARTS) / rows - above * above, 0.0)
    mean = middle + above
    inverse = 1.0 / tl.sqrt(variance + eps)
    tl.store(moments + column, mean)
    tl.store(moments + channels + column, inverse)
    tl.store(moments + 2 * channels + column, gain * inverse)
    tl.store(moments + 3 * channels + column, base - mean * gain * inverse)
    tl.store(running_mean + column, middle + momentum * above)
    tl.store(running_var + column, spread + momentum * (variance * (rows / (rows - 1.0)) - spread))


@triton.jit
def _tile(channels, TILE_M: tl.constexpr, TILE_C: tl.constexpr):
    """Rows and channels of a program. They are counted in one dimension, for the others end at 65,535."""
    program, columns = tl.program_id(0), channels // TILE_C
    return program // columns * TILE_M + tl.arange(0, TILE_M), program % columns * TILE_C + tl.arange(0, TILE_C)


@triton.jit
def normalised(
    x, added, y, moments, rows, channels, ADD: tl.constexpr, RELU: tl.constexpr,
    TILE_M: tl.constexpr, TILE_C: tl.constexpr,
):  # fmt: skip
    """`x` by scale and shift, plus `added` where there is one, rectified where asked."""
    row, column = _tile(channels, TILE_M, TILE_C)
    at = row[:, None] * channels + column[None, :]
    there = row[:, None] < rows
    scale = tl.load(moments + 2 * channels + column)[None, :]
    shift = tl.load(moments + 3 * channels + column)[None, :]
    value = tl.load(x + at, mask=there, other=0.0).to(tl.float32) * scale + shift
    if ADD:
        value += tl.load(added + at, mask=there, other=0.0).to(tl.float32)
    if RELU:
        value = tl.maximum(value, 0.0)
    tl.store(y + at, value.to(y.dtype.element_ty), mask=there)


@triton.jit
def gradient_sums(
    x, dy, dy_too, y, passed, moments, sums, products, rows, channels, chunk,
    ADD: tl.constexpr, TWO: tl.constexpr, RELU: tl.constexpr,
    TILE_M: tl.constexpr, TILE_C: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Per part of the rows, sums of the gradient behind the rectifier and of its product with the normalised input.

    Where something was added, that gradient is what is passed on to it, and is written to `passed`.
    """
    column = tl.program_id(0) * TILE_C + tl.arange(0, TILE_C)
    mean = tl.load(moments + column)[None, :]
    inverse = tl.load(moments + channels + column)[None, :]
    scale = tl.load(moments + 2 * channels + column)[None, :]
    shift = tl.load(moments + 3 * channels + column)[None, :]
    part = tl.program_id(1)
    last = tl.minimum((part + 1) * chunk, rows)
    total = tl.zeros((TILE_M, TILE_C), tl.float32)
    product = tl.zeros((TILE_M, TILE_C), tl.float32)
    for start in tl.range(part * chunk, last, TILE_M, num_stages=STAGES):
        row = start + tl.arange(0, TILE_M)
        at = row[:, None] * channels + column[None, :]
        there = row[:, None] < last
        value = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
        gradient = tl.load(dy + at, mask=there, other=0.0).to(tl.float32)
        if TWO:
            gradient += tl.load(dy_too + at, mask=there, other=0.0).to(tl.float32)
        if RELU:
            if ADD:
                alive = tl.load(y + at, mask=there, other=0.0).to(tl.float32) > 0
            else:
                alive = value * scale + shift > 0
            gradient = tl.where(alive, gradient, 0.0)
        if ADD:
            rounded = gradient.to(passed.dtype.element_ty)
            tl.store(passed + at, rounded, mask=there)
            gradient = rounded.to(tl.float32)  # as `gradient_of_input` reads it again
        total += gradient
        product += gradient * ((value - mean) * inverse)
    tl.store(sums + part * channels + column, tl.sum(total, 0))
    tl.store(products + part * channels + column, tl.sum(product, 0))


@triton.jit
def gradient_of_weights(sums, products, dweight, dbias, channels, parts, PARTS: tl.constexpr, TILE_C: tl.constexpr):
    """From the sums of all parts to the gradients of scale and shift: float32 [channels] each."""
    column = tl.program_id(0) * TILE_C + tl.arange(0, TILE_C)
    tl.store(dbias + column, _added(sums, column, channels, parts, PARTS))
    tl.store(dweight + column, _added(products, column, channels, parts, PARTS))


@triton.jit
def gradient_of_input(
    x, dy, dx, moments, dweight, dbias, rows, channels, RELU: tl.constexpr, TILE_M: tl.constexpr, TILE_C: tl.constexpr
):
    """The gradient of batch normalisation's input; with RELU, `dy` is still to pass the rectifier."""
    row, column = _tile(channels, TILE_M, TILE_C)
    at = row[:, None] * channels + column[None, :]
    there = row[:, None] < rows
    value = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    gradient = tl.load(dy + at, mask=there, other=0.0).to(tl.float32)
    mean = tl.load(moments + column)[None, :]
    inverse = tl.load(moments + channels + column)[None, :]
    scale = tl.load(moments + 2 * channels + column)[None, :]
    shift = tl.load(moments + 3 * channels + column)[None, :]
    along = tl.load(dweight + column)[None, :] / rows
    common = tl.load(dbias + column)[None, :] / rows
    if RELU:
        gradient = tl.where(value * scale + shift > 0, gradient, 0.0)
    result = scale * (gradient - common - (value - mean) * inverse * along)
    tl.store(dx + at, result.to(dx.dtype.element_ty), mask=there)


@triton.jit
def normalised_and_pooled(
    x, pooled, taken, moments, rows, channels, height, width, out_height, out_width,
    TILE_M: tl.constexpr, TILE_C: tl.constexpr,
):  # fmt: skip
    """By scale and shift, rectified, the largest of 3 x 3 with stride 2 and padding 1; `taken` says which of the 9."""
    row, column = _tile(channels, TILE_M, TILE_C)
    scale = tl.load(moments + 2 * channels + column)[None, :]
    shift = tl.load(moments + 3 * channels + column)[None, :]
    image = row // (out_height * out_width)
    out_y = row // out_width % out_height
    out_x = row % out_width
    best = tl.full((TILE_M, TILE_C), -1.0, tl.float32)
    which = tl.zeros((TILE_M, TILE_C), tl.int32)
    for tap in tl.static_range(9):
        in_y = out_y * 2 - 1 + tap // 3
        in_x = out_x * 2 - 1 + tap % 3
        there = (row < rows) & (in_y >= 0) & (in_y < height) & (in_x >= 0) & (in_x < width)
        at = ((image * height + in_y) * width + in_x)[:, None] * channels + column[None, :]
        value = tl.load(x + at, mask=there[:, None], other=0.0).to(tl.float32) * scale + shift
        value = tl.maximum(value, 0.0).to(pooled.dtype.element_ty).to(tl.float32)
        better = there[:, None] & (value > best)
        best = tl.where(better, value, best)
        which = tl.where(better, tap, which)
    at = row[:, None] * channels + column[None, :]
    tl.store(pooled + at, best.to(pooled.dtype.element_ty), mask=row[:, None] < rows)
    tl.store(taken + at, which.to(tl.int8), mask=row[:, None] < rows)


@triton.jit
def gradient_of_pooling(
    dy, dy_too, taken, dx, rows, channels, height, width, out_height, out_width,
    TILE_M: tl.constexpr, TILE_C: tl.constexpr,
):  # fmt: skip
    """For every pixel, the gradients of those of up to four windows that took it."""
    row, column = _tile(channels, TILE_M, TILE_C)
    image = row // (height * width)
    in_y = row // width % height
    in_x = row % width
    total = tl.zeros((TILE_M, TILE_C), tl.float32)
    for window in tl.static_range(4):
        out_y = (in_y + 1) // 2 - window // 2
        out_x = (in_x + 1) // 2 - window % 2
        tap_y = in_y + 1 - out_y * 2
        tap_x = in_x + 1 - out_x * 2
        inside = (out_y >= 0) & (out_y < out_height) & (out_x >= 0) & (out_x < out_width) & (tap_y < 3) & (tap_x < 3)
        there = ((row < rows) & inside)[:, None]
        at = ((image * out_height + out_y) * out_width + out_x)[:, None] * channels + column[None, :]
        gradient = tl.load(dy + at, mask=there, other=0.0).to(tl.float32)
        gradient += tl.load(dy_too + at, mask=there, other=0.0).to(tl.float32)
        took = tl.load(taken + at, mask=there, other=-1).to(tl.int32) == (tap_y * 3 + tap_x)[:, None]
        total += tl.where(took, gradient, 0.0)
    at = row[:, None] * channels + column[None, :]
    tl.store(dx + at, total.to(dx.dtype.element_ty), mask=row[:, None] < rows)


@triton.jit
def patches(
    x, out, rows, height, width, out_height, out_width, of_image, of_channel, of_row, of_column,
    CHANNELS: tl.constexpr, TILE_M: tl.constexpr,
):  # fmt: skip
    """What 8 x 8 filters with stride 2 and padding 3 look at: a row per position, [rows, channels * 64]."""
    row = tl.program_id(0) * TILE_M + tl.arange(0, TILE_M)
    image = row // (out_height * out_width)
    tap = tl.arange(0, 64)
    in_y = (row // out_width % out_height * 2 - 3)[:, None] + (tap // 8)[None, :]
    in_x = (row % out_width * 2 - 3)[:, None] + (tap % 8)[None, :]
    there = (row < rows)[:, None] & (in_y >= 0) & (in_y < height) & (in_x >= 0) & (in_x < width)
    for channel in tl.static_range(CHANNELS):
        at = image[:, None] * of_image + channel * of_channel + in_y * of_row + in_x * of_column
        value = tl.load(x + at, mask=there, other=0.0)
        to = row[:, None] * (CHANNELS * 64) + channel * 64 + tap[None, :]
        tl.store(out + to, value.to(out.dtype.element_ty), mask=(row < rows)[:, None])
