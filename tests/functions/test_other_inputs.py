"""The same tests for every function, with inputs off the beaten path.

Integers, arrays without axes or without elements, axes that are not there, numbers of
NumPy's: a call gives what NumPy computes of the same values in float64, or an error
that says what is wrong.
"""

import inspect
import re
import warnings

import numpy as np
import pytest

import dyrnn.functions as F
from dyrnn.engine.core import Variable
from dyrnn.engine.higher_order import grad
from dyrnn.random import Streams
from tests.arrays import every_device, xp
from tests.functions.cases import spread
from tests.functions.running import is_float, sequence
from tests.functions.table import CASES

each = pytest.mark.parametrize("case", CASES, ids=str)
REFUSALS = TypeError, ValueError, IndexError
SPEAKS = re.compile(
    r"shape|axes|axis|elements|examples|boolean|out of (range|bounds)|indices|floating"
)
# They compute in the integers' own type, as NumPy's of the same name do.
AS_NUMPY = {
    *("add", "subtract", "negative", "multiply", "power", "bias", "scatter_add"),
    *("matmul", "batch_matmul", "tensordot", "einsum"),
}


def call(case, inputs):
    """Return the outputs of a call, or None if it is refused with a reason."""
    variables = [Variable(x, requires_grad=is_float(x)) for x in inputs]
    try:
        with np.errstate(all="ignore"):
            return variables, sequence(case.function(*variables))
    except REFUSALS as error:
        assert case.name in str(error) or SPEAKS.search(str(error)), repr(error)
        return variables, None


def expected(case, inputs):
    """Return what NumPy computes, or None where it cannot."""
    if case.reference is None:
        return None
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            values = case.reference(*inputs)
        except (ArithmeticError, *REFUSALS):
            return None
    return list(values) if isinstance(values, (list, tuple)) else [values]


def agree(found, values):
    assert len(found) == len(values)
    for y, value in zip(found, values, strict=True):
        assert type(y.array) is xp.ndarray
        tolerance = 1e-6 if y.dtype == np.float32 else 1e-9
        xp.testing.assert_allclose(
            y.array.astype(np.float64),
            xp.asarray(value, np.float64),
            rtol=tolerance,
            atol=tolerance,
        )


def as_integers(x, dtype):
    """Round away from 0."""
    if np.dtype(dtype).kind in "ub":
        x = abs(x) if dtype is not bool else x > 0
    return xp.where(x > 0, xp.ceil(x), xp.floor(x)).astype(dtype)


@each
def test_integers_keep_their_values(case):
    for dtype in (np.int8, np.int64, np.uint8, bool):
        if case.name == "scatter_add" and dtype is bool:
            continue  # adds them as NumPy does: True stays True
        inputs = [as_integers(x, dtype) if is_float(x) else x for x in case.inputs]
        _, found = call(case, inputs)
        if found is None:
            continue
        assert all(y.dtype != np.float16 for y in found)
        if case.name not in AS_NUMPY:
            inputs = [
                x.astype(np.float64) if is_float(given) else x
                for x, given in zip(inputs, case.inputs, strict=True)
            ]
        values = expected(case, inputs)
        if values is not None:
            agree(found, values)


@each
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_without_axes_up_to_the_third_derivative(case, dtype):
    inputs = [
        xp.asarray(0.37 + 0.05 * i, dtype)
        if is_float(x)
        else (xp.asarray(True) if x.dtype == bool else x)
        for i, x in enumerate(case.inputs)
    ]
    variables, found = call(case, inputs)
    if found is None:
        return
    values = expected(case, [x.astype("d") if is_float(x) else x for x in inputs])
    if values is not None:
        agree(found, values)
    if case.keeps_dtype:
        assert all(y.dtype == dtype or y.dtype.kind != "f" for y in found)
    wanted = [v for v in variables if v.requires_grad]
    for order in (1, 2, 3) if case.has_second_gradient else (1,):
        outputs = [y for y in found if y is not None and y.requires_grad]
        if not outputs or not case.has_gradient:
            break
        ones = [xp.ones(y.shape, y.dtype) for y in outputs]
        found = grad(outputs, wanted, ones, create_graph=order < 3)
        for g in found:
            assert g is None or (g.shape == () and g.dtype == dtype)
            assert g is None or type(g.array) is xp.ndarray


@each
def test_without_elements(case):
    for axis in (0, 1):
        # A part of each array, of the same axes, so that shapes mostly still fit.
        inputs = [x.take([], axis) if x.ndim > axis else x for x in case.inputs]
        variables, found = call(case, inputs)
        if found is None:
            continue
        values = expected(case, inputs)
        if values is not None and not any(xp.isnan(v).any() for v in values):
            agree(found, values)
        outputs = [y for y in found if y.requires_grad]
        wanted = [v for v in variables if v.requires_grad]
        if outputs and case.has_gradient:
            ones = [xp.ones(y.shape, y.dtype) for y in outputs]
            for g, x in zip(grad(outputs, wanted, ones), wanted, strict=True):
                assert g is None or g.shape == x.shape
                assert g is None or xp.isfinite(g.array).all()


# Axes: how to call each function with one.

X = spread(2, 3, 4)
SQUARE = spread(3, 3)
ORDER = np.array([1, 0])


def method(name, *arguments, **options):
    return lambda axis: getattr(F, name)(X, *arguments, axis=axis, **options)


AXES = {
    **{
        name: [method(name)]
        for name in (
            *("softmax", "log_softmax", "crelu", "sum", "mean", "max", "min", "prod"),
            *("argmax", "argmin", "cumsum", "cumprod", "logsumexp", "average", "flip"),
            *("separate", "normalize", "gumbel_softmax"),
        )
    },
    "maxout": [method("maxout", 1)],
    "repeat": [method("repeat", 2), method("repeat", [2])],
    "split_axis": [method("split_axis", 1), method("split_axis", [0])],
    "rollaxis": [method("rollaxis"), lambda axis: F.rollaxis(X, 0, axis)],
    "swapaxes": [
        lambda axis: F.swapaxes(X, 0, axis),
        lambda axis: F.swapaxes(X, axis, 0),
    ],
    "moveaxis": [
        lambda axis: F.moveaxis(X, axis, 0),
        lambda axis: F.moveaxis(X, 0, axis),
        lambda axis: F.moveaxis(X, (axis,), (0,)),
    ],
    "diagonal": [lambda axis: F.diagonal(SQUARE[None], 0, 0, axis)],
    "squeeze": [lambda axis: F.squeeze(np.ones((1, 1, 1)), axis)],
    "concat": [lambda axis: F.concat([X, X], axis)],
    "concatenate": [lambda axis: F.concatenate([X, X], axis)],
    "expand_dims": [lambda axis: F.expand_dims(X[0], axis)],
    "stack": [lambda axis: F.stack([X[0], X[0]], axis)],
    "permutate": [lambda axis: F.permutate(np.ones((2, 2, 2)), ORDER, axis)],
    "transpose": [lambda axis: F.transpose(X[:, 0], (1, axis))],
    "tensordot": [
        lambda axis: F.tensordot(np.ones((2, 2, 2)), np.ones((2, 2)), ([axis], [0])),
        lambda axis: F.tensordot(np.ones((2, 2)), np.ones((2, 2, 2)), ([0], [axis])),
    ],
}
# Theirs say where another array's axes begin, or which those of the parameters are.
OTHERS = {"scale", "bias", "batch_normalization", "fixed_batch_normalization"}


def test_every_function_with_an_axis_is_tried():
    names = {"axis", "axes", "axis1", "axis2", "source", "destination", "start"}
    found = {
        name
        for name in F.__all__
        if names & set(inspect.signature(getattr(F, name)).parameters)
    }
    assert found - OTHERS == set(AXES)


def message_of(function, axis):
    with pytest.raises((ValueError, TypeError)) as caught:
        function(axis)
    return str(caught.value)


@every_device
@pytest.mark.parametrize("name", AXES)
def test_axes_out_of_range_are_refused(name):
    for function in AXES[name]:
        for axis in (4, -5, 99):
            assert re.search(
                rf"\w+: \w+ {axis} is out of range of \d axes; use -\d to \d",
                message_of(function, axis),
            )
        for axis in (1.0, "1"):
            message = message_of(function, axis)
            assert re.search(rf"\w+={axis!r} is not an integer", message)


@pytest.mark.parametrize("name", AXES)
def test_axes_may_be_numbers_of_numpy(name):
    if name == "gumbel_softmax":
        return  # draws each time
    for function in AXES[name]:
        plain = [y.array for y in sequence(function(1 if name != "transpose" else 0))]
        for number in (np.int64, np.int8, np.uint8, xp.array):
            ys = sequence(function(number(1 if name != "transpose" else 0)))
            for y, value in zip(ys, plain, strict=True):
                xp.testing.assert_array_equal(y.array, value)


@every_device
def test_axes_are_named_once():
    for function in (F.sum, F.max, F.flip, F.squeeze, F.logsumexp, F.prod):
        with pytest.raises(ValueError, match=r"\(0, -3\) names an axis twice"):
            function(xp.ones((1, 1, 1)), (0, -3))
    with pytest.raises(ValueError, match="names an axis twice"):
        F.moveaxis(X, (0, 0), (1, 2))
    with pytest.raises(ValueError, match="must name each axis of x"):
        F.transpose(X, (0, 1))


# Numbers: NumPy's give what Python's do, in the type of the array.

ROWS = spread(4, 3).astype(np.float32)
TARGET = spread(4, 3, seed=1).astype(np.float32)
ONES = np.ones(3, np.float32)
LABELS = np.array([0, 2, 1, 1])
NUMBERS = {
    "clipped_relu": lambda n: F.clipped_relu(ROWS, n(0.5)),
    "leaky_relu": lambda n: F.leaky_relu(ROWS, n(0.2)),
    "elu": lambda n: F.elu(ROWS, n(0.3)),
    "selu": lambda n: F.selu(ROWS, n(0.3), n(1.1)),
    "softplus": lambda n: F.softplus(ROWS, n(1.5)),
    "swish": lambda n: F.swish(ROWS, n(1.5)),
    "maxout": lambda n: F.maxout(ROWS, n(3)),
    "clip": lambda n: F.clip(ROWS, n(-0.5), n(0.7)),
    "add": lambda n: F.add(ROWS, n(0.3)),
    "power": lambda n: F.power(abs(ROWS), n(1.5)),
    "maximum": lambda n: F.maximum(ROWS, n(0.3)),
    "where": lambda n: F.where(ROWS > 0, ROWS, n(0.3)),
    "normalize": lambda n: F.normalize(ROWS, n(0.01)),
    "huber_loss": lambda n: F.huber_loss(ROWS, TARGET, n(0.5)),
    "layer_normalization": lambda n: F.layer_normalization(ROWS, ONES, ONES, n(0.1)),
    "batch_normalization": lambda n: F.batch_normalization(ROWS, ONES, ONES, n(0.1)),
    "pad": lambda n: F.pad(ROWS, n(1), constant_values=n(2)),
    "repeat": lambda n: F.repeat(ROWS, n(2)),
    "tile": lambda n: F.tile(ROWS, n(2)),
    "reshape": lambda n: F.reshape(ROWS, n(12)),
    "broadcast_to": lambda n: F.broadcast_to(ONES, n(3)),
    "split_axis": lambda n: F.split_axis(ROWS, n(2), n(0)),
    "tensordot": lambda n: F.tensordot(ROWS, ROWS.T, n(1)),
    "linear": lambda n: F.linear(ROWS, ROWS, n_batch_axes=n(1)),
    "average": lambda n: F.average(ROWS, n(1), ONES),
    "accuracy": lambda n: F.accuracy(ROWS, LABELS, n(2)),
    "attention": lambda n: F.attention(
        ROWS[None], *[ROWS[:, None].repeat(4, 1)] * 2, scale=n(0.5)
    ),
    "classification_summary": lambda n: F.classification_summary(
        ROWS, LABELS, n(3), n(0.5), n(-1)
    )[:3],
    "precision": lambda n: F.precision(ROWS, LABELS, n(3), n(0))[0],
    "recall": lambda n: F.recall(ROWS, LABELS, n(3), n(0))[0],
    "f1_score": lambda n: F.f1_score(ROWS, LABELS, n(3), n(0))[0],
    "connectionist_temporal_classification": lambda n: (
        F.connectionist_temporal_classification(ROWS[:, None], LABELS[:1, None], n(0))
    ),
    "diagonal": lambda n: F.diagonal(ROWS, n(1)),
    "embed_id": lambda n: F.embed_id(LABELS, ROWS, n(2)),
    "fixed_batch_normalization": lambda n: F.fixed_batch_normalization(
        ROWS, ONES, ONES, ONES, ONES, n(0.1)
    ),
    "linear_softmax_cross_entropy": lambda n: F.linear_softmax_cross_entropy(
        ROWS, ROWS, None, LABELS, n(2)
    ),
    "softmax_cross_entropy": lambda n: F.softmax_cross_entropy(
        ROWS, LABELS, ignore_label=n(2), label_smoothing=n(0.1)
    ),
    "one_hot": lambda n: F.one_hot(LABELS, n(3)),
    "pad_sequence": lambda n: F.pad_sequence([ONES, ONES[:2]], n(4), n(0.5)),
    "dropout": lambda n: drawn(lambda: F.dropout(ROWS, n(0.5))),
    "zoneout": lambda n: drawn(lambda: F.zoneout(ROWS, TARGET, n(0.5))),
    "simplified_dropconnect": lambda n: drawn(
        lambda: F.simplified_dropconnect(ROWS, ROWS, ratio=n(0.5))
    ),
    "gumbel_softmax": lambda n: drawn(lambda: F.gumbel_softmax(ROWS, n(0.5))),
}
# Stacks of layers and scan take theirs elsewhere: test_network.py, test_scanning.py.
STACKS = {
    f"n_step_{kind}" for kind in ("rnn", "gru", "lstm", "birnn", "bigru", "bilstm")
}


def drawn(function):
    with Streams(1):
        return function()


def test_every_function_with_a_number_is_tried():
    found = {
        name
        for name in F.__all__
        for parameter in inspect.signature(getattr(F, name)).parameters.values()
        if re.fullmatch(
            r"(int|float)( \| None)?", inspect.formatannotation(parameter.annotation)
        )
    }
    assert found <= {*NUMBERS, *AXES, *OTHERS, *STACKS, "scan"}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_may_be_numpys(name):
    def numpys(x):
        return np.float64(x) if isinstance(x, float) else np.int64(x)

    plain, ours = (sequence(NUMBERS[name](n)) for n in (lambda x: x, numpys))
    for x, y in zip(plain, ours, strict=True):
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y.array, x.array)


@pytest.mark.parametrize(
    "function", [F.add, F.subtract, F.multiply, F.divide, F.power, F.maximum]
)
def test_numbers_alone_make_an_array(function):
    y = function(3, 2.0)
    assert type(y.array) is xp.ndarray
    assert y.shape == () and y.dtype == np.float32
    assert F.exp(1.0).dtype == np.float32
