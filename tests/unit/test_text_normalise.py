"""Words and pauses of transcripts."""

import unicodedata

import pytest

from eele.text.normalise import PAUSE, tokens, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, world!", ["hello", "world"]),
        ("Don’t stop, it's John's.", ["don't", "stop", "it's", "john's"]),
        ("'Tis the dogs' bone", ["'tis", "the", "dogs'", "bone"]),
        (
            "He said 'go' to the ice-cream man",
            ["he", "said", "go", "to", "the", "ice", "cream", "man"],
        ),
        ("state-of-the-art", ["state", "of", "the", "art"]),
        ("It costs 3.5, or 1,250!", ["it", "costs", "3.5", "or", "1,250"]),
        ("„Zażółć GĘŚLĄ“ jaźń…", ["zażółć", "gęślą", "jaźń"]),
        ("Straße – Äpfel", ["straße", "äpfel"]),
        ("  ", []),
        ("— ?! ...", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_composed_and_decomposed_letters_are_one_word() -> None:
    composed = "żółw Überfluß"
    assert words(unicodedata.normalize("NFD", composed)) == words(composed)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Well, he went.", ["well", PAUSE, "he", "went"]),
        ("...So?! Yes -- no (maybe)", ["so", PAUSE, "yes", PAUSE, "no", PAUSE, "maybe"]),
        ("a well-known man", ["a", "well", "known", "man"]),
        ("one - two", ["one", PAUSE, "two"]),
    ],
)
def test_pauses_stand_at_punctuation_only(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected
