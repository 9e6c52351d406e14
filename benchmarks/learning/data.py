"""Pairs for training, whose targets come from other libraries.

    numbers          num2words: 0 to 99,999 in English and in Korean words
    romanization     korean-romanizer: random Hangul words, in Latin letters
    rated-words      vaderSentiment: rated words, positive or negative

Each function returns training and held-out pairs, which depend only on the seed. They need the
extra `learning`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

LARGEST = 99_999
WORDS = 400_000
MOST_SYLLABLES = 4

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Task:
    """Training pairs and held-out pairs."""

    train: list[Pair]
    held_out: list[Pair]

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write both as files of pairs and return their paths."""
        paths = folder / "train.tsv", folder / "held-out.tsv"
        for path, pairs in zip(paths, (self.train, self.held_out), strict=True):
            path.write_text("".join(f"{a}\t{b}\n" for a, b in pairs), encoding="utf-8")
        return paths


def numbers(seed: int = 1, largest: int = LARGEST) -> Task:
    """Numbers in English and in Korean words, 5 % held out."""
    from num2words import num2words

    pairs = [(num2words(n), num2words(n, lang="ko")) for n in range(largest + 1)]
    return _split(pairs, 0.05, seed)


def romanization(seed: int = 1, words: int = WORDS) -> Task:
    """Distinct random words of one to four syllables, and their romanization, 5 % held out.

    A quarter of the syllables begin with a vowel, so that the consonant before it is linked. Words
    that the library cannot read (some pairs of consonants at a word's end) are skipped.
    """
    from korean_romanizer.romanizer import Romanizer

    rng = random.Random(seed)
    drawn: dict[str, str] = {}
    while len(drawn) < words:
        syllables = [
            rng.choice(VOWEL_FIRST if rng.random() < 0.25 else SYLLABLES)
            for _ in range(rng.randint(1, MOST_SYLLABLES))
        ]
        word = "".join(syllables)
        with suppress(KeyError):
            drawn[word] = Romanizer(word).romanize()
    return _split([*drawn.items()], 0.05, seed)


def _in_use(syllable: str) -> bool:
    """Whether a syllable is one of the 2,350 of KS X 1001, out of 11,172 possible ones."""
    try:
        return len(syllable.encode("euc_kr")) == 2
    except UnicodeEncodeError:
        return False


SYLLABLES = [s for s in map(chr, range(0xAC00, 0xD7A4)) if _in_use(s)]
VOWEL_FIRST = [s for s in SYLLABLES if "아" <= s <= "잏"]


def rated_words(seed: int = 1) -> Task:
    """Rated words and whether they are positive or negative, 20 % held out. The words of a family
    stay together."""
    words = dict(_lexicon())
    families = families_of(words)
    random.Random(seed).shuffle(families)
    task = Task([], [])
    for family in families:
        part = task.held_out if len(task.held_out) < len(words) / 5 else task.train
        part += [(word, "positive" if words[word] > 0 else "negative") for word in family]
    return task


def _lexicon() -> Iterable[tuple[str, float]]:
    """The words of vaderSentiment's lexicon with only English letters, and their mean ratings."""
    text = resources.files("vaderSentiment").joinpath("vader_lexicon.txt").read_text("utf-8")
    for line in text.splitlines():
        word, rating, *_ = line.split("\t")
        if word.isascii() and word.isalpha():
            yield word.lower(), float(rating)


ENDINGS = re.compile(
    "(?<=...)(ation|ition|ative|iest|able|ible|ably|ibly|less|ness|ment|ance|ence|ious|ing|ers|ful"
    "|ion|ive|ity|ial|ous|ist|ism|ier|est|ate|ize|ise|ant|ent|es|ed|er|or|ly|al|ic|s|y|e|i)$"
)


def stem(word: str) -> str:
    """A word without its endings, at least three letters: `lov` for `love`, `loved`, `lovely` and
    `lovable`."""
    while word != (shorter := ENDINGS.sub("", word)):
        word = shorter
    return word


def families_of(words: Iterable[str]) -> list[list[str]]:
    """Words that share a stem or their first five letters, directly or through other words."""
    family: dict[str, list[str]] = {}
    for word in sorted(words):
        keys = stem(word), f"{word[:5]}..."
        tied = {id(f): f for key in keys if (f := family.get(key)) is not None}
        merged = [*(w for f in tied.values() for w in f), word]
        for key in {*keys, *(k for w in merged for k in (stem(w), f"{w[:5]}..."))}:
            family[key] = merged
    return [*{id(f): f for f in family.values()}.values()]


def _split(pairs: list[Pair], share: float, seed: int) -> Task:
    """Hold out a random share of the pairs."""
    shuffled = random.Random(seed).sample(pairs, len(pairs))
    count = round(len(pairs) * share)
    return Task(shuffled[count:], shuffled[:count])


MAKERS: dict[str, Callable[[int], Task]] = {
    "numbers": numbers,
    "romanization": romanization,
    "rated-words": rated_words,
}
