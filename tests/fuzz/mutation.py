"""Files made from good ones by a few small changes, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

CORPUS = Path(__file__).parents[1] / "corpus"
LARGE = 10_000  # one file in so many is blown up
LARGEST = 1 << 20  # bytes
LONGEST_SEED = 4096  # bytes: longer files of the corpus are replayed only, for they take long

WORDS = {
    "cfg": [
        *(word.encode() for word in (
            "[net]", "[gru]", "[lstm]", "[rnn]", "[connected]", "[softmax]", "[batchnorm]",
            "[activation]", "[cost]", "[dropout]", "[logistic]", "[yolo]", "batch=", "inputs=",
            "subdivisions=", "time_steps=", "output=", "hidden=", "tanh=1", "batch_normalize=1",
            "policy=steps", "steps=1,2", "scales=.1,.1", "groups=", "adam=1", "dontload=1",
            "=", "\n", "\r", "\r\n", "#", ";", " ", "\t", ",", "-", "0", "1", "2147483647",
            "2147483648", "1e3", "1e999", ".5", "1e-5", "nan", "inf", "1_000", "\u0664", "\u2028",
            "\ufeff", "\x1b[2J", "9" * 400,
        )),
        b"\0", b"\xff", b"\xe9",
    ],
    "weights": [
        *(n.to_bytes(4, "little") for n in (0, 1, 2, 5, 999, 1000, 1001, 1002, 2000, 2**31 - 1)),
        b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\x80\xff", b"\xff" * 4, b"\xff" * 8,
        (2**63 - 1).to_bytes(8, "little"), b"\0\0\0\2", b"PK\3\4", b"GGUF", b"\x80",
    ],
}  # fmt: skip
WORDS["yaml"] = [
    *WORDS["cfg"], *b"net: |layers: |- gru: |- softmax\n|{|}|: |- |&a |*a|!!str |!x |'".split(b"|"),
    b'"', b"---\n", b"? ",
    b"\n  ", b"[1, 2]", b"true", b"~", b"\\x", b"%YAML 1.2\n", b"<<: ", b">\n", b"\xc2\x85",
]  # fmt: skip
NUMBERS = [b"\0", b"\xff", b"\x7f", b"\0" * 8, b"\xff" * 8, (2**40).to_bytes(8, "little")]
WORDS["safetensors"] = [
    *NUMBERS, b"F32", b"F16", b"shape", b"[", b"]", b"{", b"}", b'"', b",", b"-1", b"1e9", b"null",
    b"9" * 30, b"__metadata__", b'"cfg"', b"[net]\\n", b"0.gru.uz.weights", b"data_offsets",
]  # fmt: skip
WORDS["npz"] = [
    *NUMBERS, b"PK\1\2", b"PK\3\4", b"PK\5\6", b"\x93NUMPY\1\0", b"'descr': ", b"'<f4'", b"'|O'",
    b"'<U9'", b"(2, 3)", b"(999999999, 999999999)", b"True", b"\x08\0", b".npy", b"cfg", b"seen",
]  # fmt: skip
WORDS["onnx"] = [
    *NUMBERS, b"GRU", b"LSTM", b"MatMul", b"Softmax", b"cfg", b"seen", b"[net]\n", b"output=3\n",
    b"linear_before_reset", b"direction", b"minidark", b"\x08\x01", b"\x12\x04", b"0.gru.W",
]  # fmt: skip


def corpus(kind: str) -> list[Path]:
    """The files that are kept: good ones, and what was found."""
    return sorted((CORPUS / kind).iterdir())


def mutations(kind: str, seed: int) -> Iterator[bytes]:
    """Mutated corpus files without end."""
    rng = random.Random(seed)
    files = [data for path in corpus(kind) if len(data := path.read_bytes()) <= LONGEST_SEED]
    return (_mutated(rng, files, WORDS[kind]) for _ in iter(int, 1))


def _mutated(rng: random.Random, files: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    random, choice = rng.random, rng.choice
    data = choice(files)
    for _ in range(1 + int(4 * random() ** 2)):
        change = choice(CHANGES)
        at = int(random() * (len(data) + 1))
        data = change(data, at, at + int(random() ** 3 * 40), choice(words))
    if random() * LARGE < 1:  # a line, or what it takes to be larger than any cfg
        piece = choice([data, choice(words), b"[gru]\n", data[: len(data) // 8]]) or b"\n"
        at = int(random() * (len(data) + 1))
        data = data[:at] + piece * (int(random() * LARGEST) // len(piece)) + data[at:]
    return data


Change = Callable[[bytes, int, int, bytes], bytes]
CHANGES: list[Change] = [
    lambda data, a, b, word: data[:a] + word + data[a:],  # inserted
    lambda data, a, b, word: data[:a] + word + data[a + len(word) :],  # overwritten
    lambda data, a, b, word: data[:a] + data[b:],  # a piece gone
    lambda data, a, b, word: data[:b] + data[a:],  # a piece twice
    lambda data, a, b, word: data[:a],  # cut
    lambda data, a, b, word: data[b:] + data[a:b] + data[:a],  # turned
    lambda data, a, b, word: data[:a] + bytes([b % 256]) + data[a + 1 :],  # a byte
    lambda data, a, b, word: data[:a] + data[a:b][::-1] + data[b:],  # a piece backwards
]
