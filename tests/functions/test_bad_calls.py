"""What functions of networks refuse, and with which words."""

import numpy as np
import pytest

import dyrnn.functions as F
import dyrnn.links as L
from dyrnn.errors import NonFiniteError, ShapeError
from tests.arrays import every_device, xp

CTC = F.connectionist_temporal_classification


def a(*shape, dtype=np.float64):
    return xp.zeros(shape, dtype)


def ids(*values):
    return xp.array(values, np.int32)


def labels(*shape):
    return xp.zeros(shape, np.int32)


def lstm_weights(n=1, inputs=3, H=2):
    return [[a(H, inputs)] * 4 + [a(H, H)] * 4] * n, [[a(H)] * 8] * n


def n_step(xs, ws=None, hx=None, n_layers=1):
    weights, biases = lstm_weights()
    return F.n_step_lstm(n_layers, 0.0, hx, None, ws or weights, biases, xs)


class Frame:
    """What other libraries hold values in."""

    def __init__(self, *shape):
        self.shape, self.ndim = shape, len(shape)


class Foreign(Frame):
    dtype = object()


# fmt: off
CONNECTION = [
    (lambda: F.linear(a(2, 3), a(4, 5)), ShapeError,
     r"x has shape \(2, 3\), but W \(4, 5\) takes 5 features.*in_size=3"),
    (lambda: F.linear(a(3), a(4, 3)), ShapeError, r"x has shape \(3,\)"),
    (lambda: F.linear(a(2, 3), a(4, 3), a(5)), ShapeError,
     r"b has shape \(5,\), but W \(4, 3\) has 4 outputs"),
    (lambda: F.linear(a(2, 3), a(4, 3), a(4, dtype="f")), TypeError,
     "W has type float64, but b float32"),
    (lambda: F.linear(a(2, 3, dtype="f"), a(4, 3)), TypeError,
     r"x has type float32, but W float64.*x.astype\(W.dtype\)"),
    (lambda: F.linear(labels(2, 3), a(4, 3)), TypeError,
     "x has type int32, but real floating-point numbers"),
    (lambda: F.linear(a(2, 3, 4), a(4, 12), n_batch_axes=3), ValueError,
     r"n_batch_axes=3, but x has shape \(2, 3, 4\); use 1 to 2"),
    (lambda: F.linear(a(0, 3), a(4, 3)), ValueError, "a batch of 0 examples"),
    (lambda: F.bias(a(2, 3), a(4)), ShapeError,
     r"x has shape \(2, 3\), which from axis 1 on does not go with y of shape \(4,\)"),
    (lambda: F.embed_id(ids(0), a(4)), ShapeError, r"W has shape \(4,\); .* \(V, D\)"),
    (lambda: F.embed_id(ids(0, 9), a(4, 2), ignore_label=-1), ValueError,
     r"id 9 at position \(1,\) .* 0 to 3 \(4 in all\), or -1, which is ignored"),
    (lambda: F.embed_id([0, 1], a(4, 2)), TypeError, "array of integers, not list"),
    (lambda: F.linear([[1.0]], a(4, 2)), TypeError, r"linear: x is a list, .*asarray"),
    (lambda: F.linear(Foreign(2, 2), a(4, 2)), TypeError, "linear: x is a Foreign, b"),
    (lambda: F.mean_squared_error([1.0], [2.0]), TypeError, "error: x\\w* is a list"),
    (lambda: F.lstm_window([[1.0]], None, None, a(4, 1), a(4, 1)), TypeError,
     "lstm_window: x is a list, but a Variable"),
    (lambda: F.gru([1.0], a(1, 1), a(1, 3)), TypeError, "gru: x is a list, but a Var"),
    (lambda: F.lstm(None, [1.0]), TypeError, "lstm: x is a list, but a Variable or an"),
    (lambda: F.tanh([1.0]), TypeError, "Tanh: an input is of type list; use"),
    (lambda: F.tanh(Foreign(2)), TypeError, "Tanh: an input is of type Foreign"),
    (lambda: L.Linear(None, 2)([[1.0]]), TypeError, "Linear: x is a list, but a Var"),
    (lambda: L.Linear(None, 2)(Frame(2, 2)), TypeError, "Linear: x is a Frame, but a "),
    (lambda: L.Linear(2, 2)(Frame(2, 2)), TypeError, "linear: x is a Frame, but a Var"),
    (lambda: L.LSTM(1, 2)([[1.0]]), TypeError, "LSTM: x is a list, but a Variable or"),
    (lambda: L.LSTM(2, 2)(Foreign(2, 2)), TypeError, "LSTM: x is a Foreign, but a Var"),
    (lambda: L.GRU(2, 2)(Frame(2, 2)), TypeError, "GRU: x is a Frame, but a Variable"),
    (lambda: F.bilinear(a(2, 3), a(3, 4), a(3, 4, 2)), ShapeError,
     r"e1 has shape \(2, 3\) and e2 \(3, 4\), but W \(3, 4, 2\)"),
]
NOISE = [
    (lambda: F.zoneout(a(2), a(2), 1.0), ValueError, "zoneout: ratio=1.0"),
    (lambda: F.zoneout(a(2), a(3)), ShapeError,
     r"h has shape \(2,\), but x \(3,\). They must be equal"),
    (lambda: F.gumbel_softmax(a(2, 2), 0.0), ValueError, "tau=0.0 must be positive"),
]
NORMALIZATION = [
    (lambda: F.layer_normalization(a(2, 3), a(2), a(3)), ShapeError,
     r"x has shape \(2, 3\), but gamma \(2,\) and beta \(3,\); .* \(3,\)"),
    (lambda: F.batch_normalization(a(2, 3), a(3), a(4)), ShapeError,
     r"beta has shape \(4,\), but with x \(2, 3\) .* axes \(0,\) it must be \(3,\)"),
    (lambda: F.batch_normalization(a(1, 3), a(3), a(3)), ValueError,
     "the variance of 1 values per column says nothing"),
]
LOSS = [
    (lambda: F.softmax_cross_entropy([[1.0]], ids(0)), TypeError,
     "softmax_cross_entropy: x is a list, but a Variable or an array"),
    (lambda: F.softmax_cross_entropy(a(2, 3), [0, 1]), TypeError,
     r"t is a list, .* or np.int32 for ids and labels"),
    (lambda: F.softmax_cross_entropy(Foreign(2, 3), labels(2)), TypeError,
     "x is a Foreign, but a Variable or an array"),
    (lambda: F.softmax_cross_entropy(a(2, 3), Foreign(2)), TypeError,
     "t is a Foreign, but a Variable or an array"),
    (lambda: F.softmax_cross_entropy(a(2, 3), labels(2), reduce="sum"), ValueError,
     r"reduce='sum' is unknown; use one of \('mean', 'no'\)"),
    (lambda: F.softmax_cross_entropy(a(2, 3), labels(2), class_weight=a(2)), ShapeError,
     r"class_weight has shape \(2,\), but x \(2, 3\) has 3 classes"),
    (lambda: F.softmax_cross_entropy(np.full((1, 2), np.inf), ids(0)), NonFiniteError,
     "the logits of row 0 hold NaN or inf"),
    (lambda: F.sigmoid_cross_entropy(a(2), ids(0, 2)), ValueError,
     r"label 2 at position \(1,\) is out of range: use 0 to 1"),
    (lambda: F.sigmoid_cross_entropy(a(2), ids(0)), ShapeError,
     r"x has shape \(2,\), but t \(1,\)"),
    (lambda: F.mean_squared_error(a(2), a(2, 1)), ShapeError,
     r"x0 has shape \(2,\), but x1 \(2, 1\)"),
    (lambda: F.mean_absolute_error(a(2), labels(2)), TypeError, "x1 has type int32"),
    (lambda: F.huber_loss(a(2, 2), a(2, 2), 0), ValueError, "delta=0 must be positive"),
    (lambda: F.hinge(a(2, 2), ids(0, 1), norm="L3"), ValueError, "norm='L3'"),
    (lambda: F.gaussian_nll(a(2), a(2), a(3)), ShapeError, r"ln_var \(3,\)"),
    (lambda: F.negative_log_likelihood(a(2, 3), labels(3)), ShapeError,
     r"x has shape \(2, 3\), but t \(3,\); t must have the shape of x without"),
]
SEQUENCE_LOSS = [
    (lambda: CTC([], labels(1, 1), 0), ValueError, "x is an empty list"),
    (lambda: CTC(a(0, 2, 3), labels(2, 1), 0), ShapeError,
     r"x has shape \(0, 2, 3\); give at least one step"),
    (lambda: CTC(a(4, 0, 3), labels(0, 1), 0), ValueError, "a batch of 0 examples"),
    (lambda: CTC(a(4, 2, 3), labels(3, 1), 0), ShapeError,
     r"x has shape \(4, 2, 3\), but t \(3, 1\)"),
    (lambda: CTC(a(4, 2, 3), labels(2, 1), 3), ValueError,
     "blank_symbol=3 is out of range: use 0 to 2"),
    (lambda: CTC(a(4, 2, 3), labels(2, 1), 0, ids(4)), ShapeError,
     r"input_length must be 2 integers, .* int32 of shape \(1,\)"),
    (lambda: CTC(a(4, 2, 3), labels(2, 1), 0, ids(4, 5)), ValueError,
     "input_length goes from 4 to 5, but must be within 1 to 4"),
    (lambda: CTC(a(4, 2, 3), labels(2, 1), 0, None, ids(0, 2)), ValueError,
     "label_length goes from 0 to 2, but must be within 0 to 1"),
    (lambda: CTC(a(4, 1, 3), ids(3)[None], 0), ValueError,
     r"label 3 at position \(0, 0\) is out of range"),
    (lambda: F.crf1d(a(3, 3), [], []), ValueError, "xs is an empty list"),
    (lambda: F.crf1d(a(3, 3), [a(1, 3), a(2, 3)], [ids(0), ids(0, 1)]), ValueError,
     r"batch sizes of the steps \[1, 2\] must not grow"),
    (lambda: F.crf1d(a(3, 3), [a(1, 2)], [ids(0)]), ShapeError,
     r"cost has shape \(3, 3\) and xs \[\(1, 2\)\]"),
    (lambda: F.crf1d(a(3, 3), [a(2, 3)], [ids(0)]), ShapeError,
     r"xs\[0\] has shape \(2, 3\), but ys\[0\] \(1,\)"),
]
EVALUATION = [
    (lambda: F.accuracy(a(2, 3), labels(3)), ShapeError,
     r"accuracy: y has shape \(2, 3\), but t \(3,\)"),
    (lambda: F.recall(a(2, 3), labels(3)), ShapeError,
     r"summary: y has shape \(2, 3\), but t \(3,\)"),
    (lambda: F.r2_score(a(2), a(2), multioutput="best"), ValueError,
     "multioutput='best' is unknown; use 'uniform_average'"),
    (lambda: F.classification_summary(a(2, 3), labels(2), beta=0), ValueError,
     "beta=0 must be positive"),
]
RNN = [
    (lambda: F.lstm(a(3, 2), a(3, 6)), ShapeError,
     r"x has shape \(3, 6\), but with c_prev of shape \(3, 2\) it must be \(B, 8\)"),
    (lambda: F.lstm(a(3, 2), a(4, 8)), ShapeError, "B <= 3: 4 blocks of the state"),
    (lambda: F.lstm(a(3, 2), a(3, 8, dtype="f")), TypeError, "float32, but c_prev"),
    (lambda: F.lstm(a(3, 2), a(0, 8)), ValueError, "a batch of 0 examples"),
    (lambda: F.lstm_step(a(2, 8), a(3, 2), a(3, 2), a(8, 2)), ShapeError,
     "x has 2 rows, but h 3. Reset the state"),
    (lambda: F.lstm_step(a(3, 8), a(3, 2), a(3, 2), a(8, 3)), ShapeError,
     r"U has shape \(8, 3\), but h \(3, 2\) needs \(8, 2\)"),
    (lambda: F.lstm_step(a(3, 8), a(3, 2), a(3, 2), a(8, 2, dtype="f")), TypeError,
     "U float32"),
    (lambda: F.slstm(a(3, 2), a(2, 2), a(3, 8), a(2, 8)), ShapeError,
     "x has 3 rows, but c_prev2 2"),
    (lambda: F.tree_lstm(a(3, 6)), ValueError, "at least one child's cell state"),
    (lambda: F.peephole_lstm(a(3, 2), a(3, 8), a(3, 3)), ShapeError,
     r"p has shape \(3, 3\), but with c_prev \(3, 2\) it must be \(3, 2\)"),
    (lambda: F.gru(a(3, 6), a(3, 2), a(3, 4)), ShapeError, "3 blocks"),
    (lambda: F.lstm_window(a(3, 2), None, None, a(8, 2), a(8, 2)), ShapeError,
     r"x has shape \(3, 2\); a window is \(T, B, I\), time first"),
    (lambda: F.lstm_window(a(4, 3, 2), a(2, 2), None, a(8, 2), a(8, 2)), ShapeError,
     r"h has shape \(2, 2\), but with x \(4, 3, 2\) and U \(8, 2\) .* \(3, 2\)"),
    (lambda: F.gru_window(a(4, 3, 2), None, a(6, 2), a(6, 2), b_u=a(2)), ShapeError,
     r"b_u has shape \(2,\)"),
    (lambda: F.lstm_window(a(4, 3, 2), None, None, a(8, 2), a(8, 1), V=a(2)),
     ShapeError, r"V has shape \(2,\); a projection is \(P, H\)"),
    (lambda: F.lstm_window(a(4, 3, 2), None, None, a(8, 2), a(8, 2), V=a(1, 2)),
     ShapeError, r"U has shape \(8, 2\), .* must have shape \(8, 1\)"),
    (lambda: F.rnn_window(a(4, 3, 2), None, a(2, 2), a(2, 2), None, "sin"), ValueError,
     "activation='sin' is unknown"),
    (lambda: F.rnn_window(a(4, 3, 2), None, a(2, 2), a(2, 2), lengths=[1]), ShapeError,
     "lengths must be 3 integers, one per sequence"),
    (lambda: F.rnn_window(a(4, 2, 2), None, a(2, 2), a(2, 2), lengths=[0, 5]),
     ValueError, r"lengths go from 0 to 5, but must be within 0 to 4"),
    (lambda: n_step([]), ValueError, "xs is an empty list; give at least one sequence"),
    (lambda: n_step([a(2, 3)], n_layers=2), ValueError,
     "2 layers of 1 directions need as many lists .* not 1 and 1"),
    (lambda: n_step([a(2, 3)], ws=[[a(2, 3)] * 4]), ValueError,
     "a layer has 4 arrays of weights; give 8, one for each gate, or 2 stacked"),
    (lambda: n_step([a(2, 3), a(2, 4)]), ShapeError,
     r"xs\[1\] has shape \(2, 4\), but the weights take sequences \(length, 3\)"),
    (lambda: n_step([a(2, 3)], hx=a(1, 2, 2)), ShapeError,
     r"state has shape \(1, 2, 2\), but 1 sequences and .* need \(1, 1, 2\)"),
]
# fmt: on
ALL = CONNECTION + NOISE + NORMALIZATION + LOSS + SEQUENCE_LOSS + EVALUATION + RNN


@pytest.mark.parametrize(
    ("call", "error", "message"), ALL, ids=[message[:40] for _, _, message in ALL]
)
def test_wrong_call_is_explained(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert caught.type is error


def test_shards_of_other_lengths_are_refused():
    shards = [xp.ones((2, 3)), xp.ones((3, 3))]
    with pytest.raises(ShapeError, match=r"2 shards have \[2, 3\] rows; all must have"):
        F.embed_id(xp.array([0]), shards)
    with pytest.raises(ShapeError, match=r"must have as many columns each"):
        F.embed_id(xp.array([0]), [shards[0], xp.ones((2, 4))])
    with pytest.raises(ValueError, match=r"id 5 at position \(0,\) is out of"):
        F.embed_id(ids(5), shards[::-1])
    with pytest.raises(ValueError, match=r"one_hot: id 3 at position \(1,\) is"):
        F.one_hot(ids(0, 3), 3)


@pytest.mark.parametrize("dtype", "b B h H i I q Q".split())
@every_device
def test_ids_may_be_of_a_type_that_is_smaller_than_the_number_of_classes(dtype):
    ids = xp.array([0, 2, 5], dtype)
    rows = F.one_hot(ids, 300).array
    assert float(rows.sum()) == 3 and rows.argmax(-1).tolist() == [0, 2, 5]
    whole = xp.arange(600.0).reshape(300, 2)
    for n in (1, 2, 3):
        y = F.embed_id(ids, [whole[k::n] for k in range(n)], ignore_label=2).array
        assert y.tolist() == [[0, 1], [0, 0], [10, 11]]
    x = xp.linspace(-1, 1, 12).reshape(3, 4)
    found = F.linear_softmax_cross_entropy(x, xp.ones((300, 4)), None, ids)
    assert float(found) == pytest.approx(np.log(300))
    steps, labels = xp.zeros((9, 1, 300)), ids[None]
    found = F.connectionist_temporal_classification(steps, labels, 299)
    same = F.connectionist_temporal_classification(steps, xp.array([[0, 2, 5]]), 299)
    assert float(found) == float(same)


@every_device
def test_ids_out_of_range_give_nan_where_a_device_is_not_waited_for():
    ids = xp.array([1, -2, 4])
    shards = [xp.ones((2, 3)), xp.ones((2, 3))]
    calls = (lambda: F.one_hot(ids, 4), lambda: F.embed_id(ids, shards))
    for call in calls:
        if xp.ndarray is np.ndarray:
            with pytest.raises(ValueError, match="is out of range"):
                call()
        else:
            assert xp.isnan(call().array).all(axis=1).tolist() == [False, True, True]
