"""The seven ways to write an LSTM run, learn, and compute what they say."""

import functools
import itertools
import re

import numpy as np
import pytest

import dyrnn
import dyrnn.links as L
from dyrnn import optimizers
from dyrnn.errors import SnapshotError
from dyrnn.iterators import ParallelSequentialIterator
from tests.examples.running import load, run

FOLDER = "seven_lstms/"
VOCABULARY = 11


@pytest.fixture
def words(rng):
    return rng.integers(0, VOCABULARY, 203).astype(np.int32)


@pytest.fixture
def small_text(rng, tmp_path):
    lines = [" ".join(rng.choice(list("abcdefgh"), 6)) for _ in range(400)]
    path = tmp_path / "small.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def gradients(model):
    return {name: param.grad for name, param in model.namedparams()}


@pytest.mark.parametrize(
    "name", ["manual_bptt", "comments_bptt", "comments_nstep", "padded_batches"]
)
def test_a_language_model_runs_and_learns(tmp_path, name):
    text = run(f"{FOLDER}{name}.py", "--test", cwd=tmp_path)
    row = r"^\d +\S+ +(\S+) " if name.startswith("comments") else r"perplexity (\S+)$"
    perplexities = list(map(float, re.findall(row, text, re.MULTILINE)))
    assert perplexities[-1] < 1300  # of 2,100 words; other Pythons, other texts


def test_joint_probability_prefers_sentences_to_shuffled_words(tmp_path):
    text = run(FOLDER + "joint_probability.py", "--test", cwd=tmp_path)
    assert float(re.findall(r"shuffled: (\S+) %", text)[-1]) > 65
    assert re.search(r"^joint log-probability: -\d+\.\d\d$", text, re.MULTILINE)


def test_two_sequences_are_known_by_heart(tmp_path):
    text = run(FOLDER + "two_sequences.py", "--test", cwd=tmp_path)
    lines = text.splitlines()
    for (first, last), shown in zip(
        ("AX", "BY"), (lines[-7:-4], lines[-4:-1]), strict=True
    ):
        rest = f"0 1 2 3 4 {last}"
        assert shown[:2] == [f"sequence: {first} {rest}", f"prediction: {rest}"]
        assert 0 < float(re.fullmatch(r"probability: (0\.\d{4})", shown[2])[1]) < 1
    assert re.fullmatch(r"both sequences known by heart after \d+ updates", lines[-1])


def test_two_sequences_says_when_it_has_not_learnt_them(tmp_path):
    args = ("--test", "--limit", 5)
    text = run(FOLDER + "two_sequences.py", *args, cwd=tmp_path, code=1)
    assert text.endswith("not known by heart after 5 updates\n")


def test_only_the_beginnings_tell_the_two_sequences_apart():
    sequences, n_symbols = load(FOLDER + "two_sequences.py").make_sequences(5)
    assert sequences.shape == (7, 2) and sequences.max() == n_symbols - 1
    assert (sequences[1:-1, 0] == sequences[1:-1, 1]).all()
    assert len({*sequences[0], *sequences[-1]}) == 4


def test_manual_bptt_updates_every_so_many_steps(words):
    example = load(FOLDER + "manual_bptt.py")
    model = L.Classifier(example.RNN(VOCABULARY, 4))
    optimizer = optimizers.SGD(0.1).setup(model)
    example.train(model, optimizer, words, every=4)  # 11 steps: 4, 4 and 3
    assert optimizer.t == 3


def test_manual_bptt_cuts_the_graph_behind_the_state(words):
    example = load(FOLDER + "manual_bptt.py")
    model = L.Classifier(example.RNN(VOCABULARY, 4))
    optimizer = optimizers.SGD(0.1).setup(model)
    loss = model(words[:3], words[1:4])
    state = model.predictor.mid.h
    assert state.creator is not None
    example.update(model, optimizer, loss)
    assert model.predictor.mid.h is state and state.creator is None


def test_joint_log_probability_is_the_sum_over_the_words(words):
    model = load(FOLDER + "joint_probability.py").LanguageModel(VOCABULARY, 4)
    W = {name: param.array for name, param in model.namedparams()}
    sentence = words[:6]
    h, total = np.zeros(4, np.float32), 0.0
    for word, following in itertools.pairwise(sentence):
        x = W["/embed/W"][word]
        h = np.tanh(W["/upward/W"] @ x + W["/upward/b"] + W["/lateral/W"] @ h)
        y = W["/out/W"] @ h + W["/out/b"]
        total += y[following] - np.log(np.exp(y).sum())
    got = model.log_probability(sentence[:, None])
    np.testing.assert_allclose(got.array, [total], rtol=1e-5)


def test_the_iterator_of_the_user_gives_what_the_library_gives(words):
    own = load(FOLDER + "comments_bptt.py").ParallelSequentialIterator(words, 4)
    reference = ParallelSequentialIterator(words, 4)
    for _ in range(120):
        assert own.next() == reference.next()
        assert own.epoch_detail == reference.epoch_detail
        assert own.is_new_epoch == reference.is_new_epoch


def test_the_updater_of_the_user_does_what_the_library_does(words):
    example = load(FOLDER + "comments_bptt.py")
    models = []
    by_steps = functools.partial(dyrnn.training.BPTTUpdater, window=False)
    for kind in (example.BPTTUpdater, by_steps):
        dyrnn.random.seed(0)
        model = L.Classifier(example.RNNForLM(VOCABULARY, 4))
        optimizer = optimizers.SGD(0.1).setup(model)
        updater = kind(ParallelSequentialIterator(words, 4), optimizer, 5)
        updater.update()
        models.append(model)
    expected = gradients(models[1])
    for name, gradient in gradients(models[0]).items():
        np.testing.assert_allclose(gradient, expected[name], rtol=1e-5, atol=1e-7)


def test_a_run_of_the_users_classes_resumes_exactly(
    tmp_path, small_text, monkeypatch, capsys
):
    example = load(FOLDER + "comments_bptt.py")
    monkeypatch.chdir(tmp_path)

    def result(*args):
        given = ["--test", "--data", small_text, "--unit", "8", *args]
        monkeypatch.setattr("sys.argv", ["comments_bptt", *given])
        example.main()
        return capsys.readouterr().out.splitlines()[-1].split()[:3]

    whole = result("-e", "2", "-o", "whole")
    result("-e", "1", "-o", "part")
    assert result("-e", "2", "-o", "part", "--resume", "auto") == whole


@pytest.mark.parametrize("name", ["manual_bptt", "padded_batches"])
def test_a_loop_by_hand_resumes_exactly(
    tmp_path, name, small_text, monkeypatch, capsys
):
    example = load(f"{FOLDER}{name}.py")

    def result(*args):
        given = ["--test", "--data", small_text, "--unit", "4", "--seed", "3", *args]
        monkeypatch.setattr("sys.argv", [name, *given])
        example.main()
        return capsys.readouterr().out.splitlines()[-1]

    monkeypatch.chdir(tmp_path)
    whole = result("-e", "2", "-o", "whole")
    result("-e", "1", "-o", "part")
    assert result("-e", "2", "-o", "part", "--resume", "auto") == whole
    files = [(tmp_path / out / "loop.npz").read_bytes() for out in ("whole", "part")]
    assert files[0] == files[1]
    with pytest.raises(SnapshotError, match="seed is 4, but the run that was saved h"):
        result("-o", "part", "--resume", "auto", "--seed", "4")


@pytest.mark.parametrize(
    "name", ["manual_bptt", "joint_probability", "padded_batches", "two_sequences"]
)
def test_a_loop_by_hand_runs_on_a_device(
    tmp_path, name, small_text, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    options = ["--test", "--device", "@strict", "--unit", "4"]
    if name == "two_sequences":
        options[-1:] = ["20", "--limit", "200"]
    else:
        options += ["--data", small_text]
    monkeypatch.setattr("sys.argv", [name, *options])
    load(f"{FOLDER}{name}.py").main()
    assert capsys.readouterr().out


def test_line_model_is_the_same_for_padded_and_for_separate_lines(words):
    model = load(FOLDER + "padded_batches.py").LineModel(VOCABULARY, 4)
    lines = [words[:9], words[20:24], words[50:56]]
    padded, _ = dyrnn.datasets.pad_sequences(lines, padding=-1)
    loss = model(padded)
    model.cleargrads()
    loss.backward()
    expected = gradients(model)
    model.cleargrads()
    total = 0
    for line in lines:
        total += model(line[:, None]) * (len(line) - 1)
    total = total / sum(len(line) - 1 for line in lines)
    total.backward()
    np.testing.assert_allclose(loss.array, total.array, rtol=1e-5)
    for name, gradient in gradients(model).items():
        np.testing.assert_allclose(gradient, expected[name], rtol=1e-4, atol=1e-6)


def test_the_users_lstm_is_the_librarys(rng):
    own = load(FOLDER + "padded_batches.py").MyLSTM(3, 4)
    reference = L.LSTM(3, 4)
    gates = [own.input, own.forget, own.update, own.output]
    W = np.concatenate([gate.W.array for gate in gates])
    reference.upward.W.array[...], reference.lateral.W.array[...] = W[:, :3], W[:, 3:]
    reference.upward.b.array[...] = np.concatenate([gate.b.array for gate in gates])
    x = rng.standard_normal((5, 2, 3)).astype(np.float32)
    for step in x:
        np.testing.assert_allclose(own(step).array, reference(step).array, rtol=1e-5)


def test_lines_in_any_order_give_the_same_loss_in_n_step(words):
    model = load(FOLDER + "comments_nstep.py").LineModel(VOCABULARY, 4)
    lines = [words[:4], words[20:29], words[50:56]]
    with dyrnn.using_config("train", False):
        losses = [model(lines).item(), model(lines[::-1]).item()]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize(
    "name",
    "manual_bptt joint_probability two_sequences comments_bptt comments_nstep "
    "padded_batches".split(),
)
def test_help_explains_the_example(name, monkeypatch, capsys):
    example = load(f"{FOLDER}{name}.py")
    monkeypatch.setattr("sys.argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as end:
        example.main()
    text = capsys.readouterr().out
    assert end.value.code == 0
    assert "--test" in text and example.__doc__[:40] in text
