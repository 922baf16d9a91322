"""Vocabularies: which ids, the way back to text, and what is refused."""

import json

import numpy as np
import pytest

from dyrnn.datasets import Vocabulary, subwords
from dyrnn.datasets import vocabulary as vocabulary_module

TEXT = "b a b\nc <unk> a b\n"


def test_ids_go_by_falling_count_then_word():
    vocabulary = Vocabulary.from_text(TEXT)
    assert vocabulary.words == ["b", "<eos>", "a", "<unk>", "c"]
    assert vocabulary.encode(TEXT).tolist() == [0, 2, 0, 1, 4, 3, 2, 0, 1]
    assert vocabulary.encode(TEXT).dtype == np.int32
    assert len(vocabulary) == 5
    assert "c" in vocabulary
    assert list(vocabulary) == vocabulary.words


def test_decoding_gives_lines_of_words():
    vocabulary = Vocabulary.from_text(TEXT)
    assert vocabulary.decode(vocabulary.encode(TEXT)) == TEXT
    assert vocabulary.decode([]) == ""
    assert vocabulary.decode(np.array([[0, 1], [1, 2]])) == "b\n\na"
    for i in (5, -1):
        with pytest.raises(ValueError, match=f"id {i} is out of range: .* has 5 words"):
            vocabulary.decode([0, i])


def test_rare_words_become_unk():
    text = "a a a b b c d\n"
    kept = Vocabulary.from_text(text, size=3)
    assert kept.words == ["<unk>", "a", "b"]
    assert kept.decode(kept.encode("a b c d")) == "a b <unk> <unk>"
    counted = Vocabulary.from_text(text, min_count=2)
    assert counted.words == ["a", "<unk>", "b", "<eos>"]
    assert Vocabulary.from_text("a b\n", unk=True).words == ["<eos>", "a", "b", "<unk>"]
    assert Vocabulary.from_text("a b\n", size=3).words == ["<eos>", "a", "b"]
    with pytest.raises(ValueError, match="size 1 is too small: use 2 or more"):
        Vocabulary.from_text("a b\n", size=1)


def test_an_unknown_word_without_unk_names_word_line_and_neighbours():
    vocabulary = Vocabulary.from_text("meaning of life\n")
    with pytest.raises(
        ValueError,
        match=r"word 'meanin' in line 2 is not in the vocabulary of 4 words, which has "
        r"no <unk>\. Nearest: 'meaning'",
    ):
        vocabulary.encode("of\nlife meanin")
    lettered = Vocabulary.from_text("abc\n", "char")
    with pytest.raises(ValueError, match="character 'z' in line 1 is not in the"):
        lettered.encode("az")


def test_strict_encoding_refuses_unknown_words_even_with_unk():
    vocabulary = Vocabulary.from_text("life is\n", unk=True)
    assert vocabulary.encode("lite").tolist() == [vocabulary.ids["<unk>"]]
    with pytest.raises(ValueError, match=r"'lite' in line 1 .* 4 words\. Nearest: 'li"):
        vocabulary.encode("lite", strict=True)
    assert vocabulary.encode("<unk>", strict=True).tolist() == [3]


def test_line_ends_need_eos():
    vocabulary = Vocabulary(["a", "b"])
    assert vocabulary.encode("a b").tolist() == [0, 1]
    with pytest.raises(ValueError, match="the text has line ends, but .* no <eos>"):
        vocabulary.encode("a\nb\n")


def test_characters_give_the_text_back_exactly():
    text = "A b\tc\n\n d\u2028e  \n"
    vocabulary = Vocabulary.from_text(text, "char")
    assert vocabulary.decode(vocabulary.encode(text)) == text
    assert vocabulary.words[0] == " "
    assert vocabulary.decode(vocabulary.encode("e d")) == "e d"


def test_json_gives_the_same_vocabulary_back():
    for level in ("word", "char", "subword"):
        vocabulary = Vocabulary.from_text(TEXT, level)
        saved = json.loads(json.dumps(vocabulary.to_json()))
        again = Vocabulary.from_json(saved)
        assert again == vocabulary
        assert again.sha256 == vocabulary.sha256
        assert hash(again) == hash(vocabulary)


def test_sha256_depends_on_order_and_level():
    vocabularies = [
        Vocabulary(["a", "b"]),
        Vocabulary(["b", "a"]),
        Vocabulary(["a", "b"], "char"),
    ]
    assert len({vocabulary.sha256 for vocabulary in vocabularies}) == 3
    assert vocabularies[0] != vocabularies[1]
    assert vocabularies[0] != ["a", "b"]
    assert repr(vocabularies[0]) == "<Vocabulary of 2 tokens, level word>"


def test_a_file_has_one_word_a_line(tmp_path):
    path = tmp_path / "words.txt"
    for level in ("word", "char", "subword"):
        vocabulary = Vocabulary.from_text(TEXT + "dreamworks\n", level)
        vocabulary.save(path)
        assert Vocabulary.from_file(path, level) == vocabulary
    path.write_text("b\r\na\r\nc")
    assert Vocabulary.from_file(path).words == ["b", "a", "c"]
    assert [p.name for p in tmp_path.iterdir()] == ["words.txt"]


def test_bad_vocabulary_files_are_refused(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("a\nb\nc\nb\n")
    with pytest.raises(ValueError, match="word 'b' is in line 2 and again in line 4"):
        Vocabulary.from_file(path)
    path.write_text("a\n\nb\n")
    with pytest.raises(ValueError, match=r"words\.txt', line 2 is blank"):
        Vocabulary.from_file(path)
    with pytest.raises(ValueError, match="has a line end and does not fit"):
        Vocabulary(["a", "\r"], "char").save(path)
    assert path.read_text() == "a\n\nb\n"


def test_bad_word_lists_are_refused():
    with pytest.raises(
        ValueError, match="'a' is twice in the vocabulary, as ids 0 and"
    ):
        Vocabulary(["a", "b", "a"])
    with pytest.raises(ValueError, match="needs at least one word"):
        Vocabulary([])
    with pytest.raises(ValueError, match="word 1 of the vocabulary is 7, not a text"):
        Vocabulary(["a", 7])
    with pytest.raises(ValueError, match="unknown level 'line': use one of word, char"):
        Vocabulary(["a"], "line")


def test_syllables_follow_the_published_notation():
    text = "new company dreamworks interactive"
    pieces = "dre+ am+ wo+ rks: in+ te+ ra+ cti+ ve:".split()
    vocabulary = Vocabulary(["new", "company", *pieces], "subword")
    spelled = " ".join(vocabulary.tokenize(text))
    assert spelled == "new company dre+ am+ wo+ rks: in+ te+ ra+ cti+ ve:"
    assert vocabulary.decode(vocabulary.encode(text)) == text
    assert subwords.syllables("Straße 42!") == ["Stra", "ße", " ", "4", "2", "!"]


HARD = [
    "plain words here",
    "  two  spaces and a tab\t end ",
    "\n\n leading\n\ntrailing\n\n",
    "a+ b: ++ :: + : a+b a:b",
    "<eos> <unk> <0xE3>+ <0xE3> <0x",
    "ありがとう naïve Straße \U0001f600\u2028 x\u00a0y\r z",
    "",
]


def test_subwords_give_any_text_back_exactly(rng):
    trained = Vocabulary.from_text(
        "plain words here: naïve a+ b\n" * 6, "subword", 3, 4
    )
    alphabet = list("ab +:<>\n0xE3eosè\u3042")
    texts = HARD + ["".join(rng.choice(alphabet, 40)) for _ in range(300)]
    for text in texts:
        assert trained.decode(trained.encode(text, strict=True)) == text
        own = Vocabulary.from_text(text, "subword", 5, 5)
        assert own.decode(own.encode(text, strict=True)) == text


def test_subwords_keep_the_most_frequent_words_and_syllables():
    text = "banana " * 9 + "cabana " * 8 + "bandana " * 7 + "x\n"
    vocabulary = Vocabulary.from_text(text, "subword", size=1, syllables=3)
    assert vocabulary.words[:2] == ["ba+", "na:"]
    assert "banana" in vocabulary
    assert "cabana" not in vocabulary
    assert vocabulary.tokenize("banana cabana") == ["banana", "ca+", "ba+", "na:"]


def test_pieces_cut_off_while_sampling_can_be_decoded():
    vocabulary = Vocabulary.from_text("dreamworks\n" * 9, "subword", size=0)
    ids = vocabulary.encode("dreamworks")
    assert vocabulary.decode(ids[:2]) == "dream"
    assert vocabulary.decode(vocabulary.encode("\u3042")[:1]) == "\ufffd"


@pytest.mark.parametrize("level", ["word", "char", "subword"])
def test_long_lines_are_cut_into_pieces_with_the_same_tokens(level, monkeypatch):
    text = "a bc  de\tf g \nhh  i j k\u2028l mno  \n\n p q rs t u v " * 9 + "end "
    for piece in (1, 2, 3, 7, 50):
        monkeypatch.setattr(vocabulary_module, "_PIECE", 1 << 20)
        vocabulary = Vocabulary.from_text(text, level)
        ids = vocabulary.encode(text)
        whole = [vocabulary.words[i] for i in ids]
        assert whole == vocabulary.tokenize(text)
        monkeypatch.setattr(vocabulary_module, "_PIECE", piece)
        assert Vocabulary.from_text(text, level) == vocabulary
        assert vocabulary.encode(text).tolist() == ids.tolist()


def test_the_line_of_an_unknown_word_is_found_in_a_long_text():
    vocabulary = Vocabulary(["<eos>", "a"])
    text = "a\n" + "a " * 600_000 + "b a\n"
    with pytest.raises(ValueError, match="word 'b' in line 2 is not in the vocabulary"):
        vocabulary.encode(text)
