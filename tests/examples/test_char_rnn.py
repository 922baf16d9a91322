"""The character model: masks agree, bits are bits, samples continue, runs resume."""

import json
import math
import re

import numpy as np
import pytest

import dyrnn
from dyrnn import datasets, random, serializers
from tests.examples.running import load, run

EXAMPLE = "char_rnn/train_char_rnn.py"
SMALL = ("--unit", 8, 8, "--every", 10, "--length", 10, "--batchsize", 16)
LINE = "the cat sat on the mat"


@pytest.fixture(scope="module")
def char_rnn():
    return load(EXAMPLE)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "cats.txt"
    path.write_text(f"{LINE}\n" * 2000)
    return path


def bits_of_test(text):
    return float(re.search(r"test: ([\d.]+) bits per character", text)[1])


def rows(folder):
    lines = (folder / "result" / "char_rnn" / "log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("level", "mask"), [("char", "loss"), ("word", "length"), ("subword", "length")]
)
def test_every_level_trains(level, mask, tmp_path):
    output = run(EXAMPLE, "--test", "--level", level, "--mask", mask, cwd=tmp_path)
    assert "bpc" in output and "val_bpc" in output
    bits = [row["bpc"] for row in rows(tmp_path)]
    assert bits[-1] < bits[0]
    assert 0 < bits_of_test(output) < 8
    picture = (tmp_path / "result" / "char_rnn" / "bpc.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) < 60_000


def test_both_masks_give_the_same_loss_and_gradients(char_rnn, rng, device):
    with dyrnn.using_config("dtype", np.float64):
        rnn = char_rnn.CharRNN(7, (5, 4))
    lengths = [6, 1, 4, 2]
    x = np.zeros((7, 4), np.int32)
    for b, length in enumerate(lengths):
        x[: length + 1, b] = rng.integers(1, 8, length + 1)
    found = []
    for mask in ("loss", "length"):
        model = char_rnn.MaskedLoss(rnn, mask).to_device(device)
        model.cleargrads()
        loss = model(device.send(x))
        loss.backward()
        gradients = [param.grad for param in rnn.params()]
        found.append([dyrnn.to_cpu(array) for array in (loss.array, *gradients)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)


def test_padding_has_no_influence(char_rnn, rng):
    model = char_rnn.MaskedLoss(char_rnn.CharRNN(7, (5, 4)), "loss")
    x = rng.integers(1, 8, (6, 3)).astype(np.int32)
    padded = np.concatenate((x, np.zeros((4, 3), np.int32)))
    np.testing.assert_allclose(model(padded).array, model(x).array, rtol=1e-6)


@pytest.mark.parametrize("level", ["char", "subword"])
def test_a_guess_among_n_equal_tokens_costs_their_logarithm(char_rnn, level):
    lines = "one line\nand another\n"
    vocabulary = datasets.Vocabulary.from_text(lines, level, syllables=20)
    text = char_rnn.Text(lines, vocabulary)
    assert text.characters == len(lines)
    rnn = char_rnn.CharRNN(len(vocabulary), (4, 4))
    rnn.out.W.array[...] = 0
    batch = char_rnn.to_batch(list(text.whole_lines()), dyrnn.get_device(-1))
    loss = char_rnn.MaskedLoss(rnn, "loss")(batch).item()
    tokens = len(vocabulary.encode(lines))
    expected = math.log2(len(vocabulary)) * tokens / len(lines)
    assert loss * text.bits == pytest.approx(expected, rel=1e-5)


def test_batches_lose_only_steps_that_are_all_padding(char_rnn):
    windows = [np.array([1, 2, 0, 0, 0]), np.array([3, 4, 5, 0, 0])]
    batch = char_rnn.to_batch(windows, dyrnn.get_device(-1))
    assert batch.tolist() == [[1, 3], [2, 4], [0, 5]]


def test_samples_carry_the_state(char_rnn, device):
    vocabulary = datasets.Vocabulary.from_text("abcdefgh\n", "char")
    random.seed(3)
    rnn = char_rnn.CharRNN(len(vocabulary), (6, 5))
    rnn.out.b.array[vocabulary.ids["<eos>"]] = -100  # one endless line
    rnn.to_device(device)
    sampler = char_rnn.Sampler(rnn, vocabulary, ["ab"], 20, 0)
    ids = vocabulary.encode("\n" + "".join(sampler.sample("ab")))
    assert len(ids) == 1 + 2 + 20

    def guesses(x):
        rnn.reset_state()
        return dyrnn.to_cpu(rnn(device.send(x + 1)).array).argmax(axis=-1)

    np.testing.assert_array_equal(guesses(ids[:, None])[2:-1, 0], ids[3:])
    assert (guesses(ids)[2:-1] != ids[3:]).any()  # each id alone, without a state


def test_it_learns_a_text_and_continues_it(text, tmp_path):
    common = ("--prime", "the cat", "--temperature", 0)
    args = ("--text", text, "--unit", 16, 16, "--batchsize", 20, "--lr", 0.02)
    output = run(EXAMPLE, *args, *common, "--epoch", 1, "--every", 40, cwd=tmp_path)
    assert bits_of_test(output) < 0.1
    args = ("--sample-only", *common, "--length", 3 * len(LINE) + 2 - len("the cat"))
    command = [EXAMPLE, *args]
    assert run(*command, cwd=tmp_path) == f"{LINE}\n{LINE}\n{LINE}\n"


def test_a_resumed_run_ends_as_one_that_never_stopped(text, tmp_path):
    for folder, epochs in (("a", [0.3]), ("b", [0.15, 0.3])):
        (tmp_path / folder).mkdir()
        for epoch in epochs:
            args = (*SMALL, "--text", text, "--epoch", epoch, "--resume", "auto")
            output = run(EXAMPLE, *args, cwd=tmp_path / folder)
        bits = [(row["iteration"], row["bpc"]) for row in rows(tmp_path / folder)]
        if folder == "a":
            expected = bits_of_test(output), bits
    assert (bits_of_test(output), bits) == expected


@pytest.mark.parametrize("kind", ["smooth", "staircase"])
def test_the_learning_rate_decays(kind, text, tmp_path):
    args = (*SMALL, "--text", text, "--decay", 0.5, "--decay-steps", 10, "--lr", 0.01)
    run(
        EXAMPLE,
        *args,
        *["--staircase"] * (kind == "staircase"),
        "-e",
        0.3,
        cwd=tmp_path,
    )
    found = [row["lr"] for row in rows(tmp_path)]
    per_interval = 0.01 * 0.5 ** np.arange(3)
    if kind == "smooth":
        per_interval *= np.mean(0.5 ** (np.arange(10) / 10))
    np.testing.assert_allclose(found[:3], per_interval, rtol=1e-6)


def test_the_preset_trains_restores_itself_and_samples(text, tmp_path):
    odd = tmp_path / "odd.txt"
    odd.write_text(text.read_text().replace("sat", "sat€"), encoding="utf-8")
    args = ("--preset", "tweets", *SMALL, "--every", 5, "--data")
    first = run(EXAMPLE, *args, text, "--epoch", 0.15, cwd=tmp_path)
    found = re.findall(r"^Iter (\d+)\. Loss ([\d.]+)\. Time [\d.]+$", first, re.M)
    assert [int(n) for n, _ in found] == [*range(5, 5 * len(found) + 1, 5)]
    sums = [float(loss) for _, loss in found]
    whole = 16 * (len(LINE) + 1)  # tokens of a batch of whole lines
    assert sums[0] / whole == pytest.approx(math.log(89), rel=0.1)
    assert sums[-1] < sums[0]
    # The unknown character is dropped: the same text, which goes on where it was.
    second = run(EXAMPLE, *args, odd, "--epoch", 0.3, cwd=tmp_path)
    start = int(re.search(r"^Iter (\d+)", second, re.M)[1])
    assert start == int(found[-1][0]) + 5
    args = ("--preset", "tweets", "--sample-only", "--out", "result/tweets")
    output = run(EXAMPLE, *args, "--length", 3, cwd=tmp_path)
    assert output.startswith("Hillary")


def test_samples_by_exp_are_those_of_another_softmax(char_rnn, device):
    vocabulary = datasets.Vocabulary.from_text("abcd\n", "char")
    rnn = char_rnn.CharRNN(len(vocabulary), (6, 5), one_hot=True).to_device(device)
    outputs = []
    for draw in ("softmax", "exp"):
        rnn.reset_state()
        sampler = char_rnn.Sampler(rnn, vocabulary, ["a"], 5, 1.5, draw)
        eos = vocabulary.encode("\n")
        outputs.append(dyrnn.to_cpu(sampler.predict(eos).array))
    np.testing.assert_allclose(outputs[1], np.exp(outputs[0] / 1.5), rtol=1e-5)


def test_characters_outside_of_the_alphabet_are_dropped_from_beginnings(char_rnn):
    vocabulary = datasets.Vocabulary(["<eos>", *"abc"], "char")
    rnn = char_rnn.CharRNN(len(vocabulary), (3, 2), one_hot=True)
    sampler = char_rnn.Sampler(rnn, vocabulary, ["€b漢"], 1, 1.0)
    assert next(iter(sampler.sample("€b漢"))).startswith("b")


def test_a_text_without_lines_is_refused(char_rnn):
    vocabulary = datasets.Vocabulary(["<eos>", "a"], "char")
    with pytest.raises(ValueError, match="a part of the text.* has no lines"):
        char_rnn.Text("\n\n", vocabulary)


def test_the_sum_is_the_mean_times_the_tokens(char_rnn, rng, device):
    rnn = char_rnn.CharRNN(7, (5, 4), one_hot=True).to_device(device)
    x = rng.integers(1, 8, (6, 3)).astype(np.int32)
    x[4:, 0] = 0
    for mask in ("loss", "length"):
        mean, total = (
            char_rnn.MaskedLoss(rnn, mask, reduce)(device.send(x)).item()
            for reduce in ("mean", "sum")
        )
        assert total == pytest.approx(mean * 13, rel=1e-5)


def test_wrong_arguments_are_refused(tmp_path):
    message = run(EXAMPLE, "--window", 10, "--overlap", 10, cwd=tmp_path, code=2)
    assert "--overlap must be less than --window" in message
    for option in ("--minutes", "--gradclip", "--decay"):
        message = run(EXAMPLE, option, 0, cwd=tmp_path, code=2)
        assert f"argument {option}" in message and "must be more than 0" in message
    message = run(EXAMPLE, "--draw", "exp", "--temperature", 0, cwd=tmp_path, code=2)
    assert "argument --temperature: must be more than 0 with --draw exp" in message
    message = run(EXAMPLE, "--alphabet", "ab", "--level", "word", cwd=tmp_path, code=2)
    assert "argument --alphabet: is for --level char" in message
    message = run(EXAMPLE, "--model", "best.npz", cwd=tmp_path, code=2)
    assert "argument --model: is for --sample-only" in message
    message = run(EXAMPLE, "--sample-only", cwd=tmp_path, code=1)
    assert "best.npz: train one first, with python examples/char_rnn/" in message
    serializers.save_npz(tmp_path / "other.npz", dyrnn.Chain(), {"model": {}})
    args = ("--sample-only", "--model", "other.npz")
    message = run(EXAMPLE, *args, cwd=tmp_path, code=1)
    assert "other.npz is not a model that train_char_rnn.py saved" in message
    message = run(EXAMPLE, "--text", "absent.txt", cwd=tmp_path, code=1)
    assert "there is no file 'absent.txt'" in message
