"""Files made from good ones by a few small changes, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.fuzz import structured
from tests.fuzz.seeds import made

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
            "\ufeff", "\x1b[2J", "9" * 400, "elman=1",
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
    b"Squeeze", b"Unsqueeze", b"Transpose", b"Add", b"Gemm", b"Constant", b"ConstantOfShape",
    b"axes", b"perm", b"location", b"offset", b"length", b"beside.bin", b"../secret.bin",
    b"/etc/passwd", b"secret.bin", b"-1", b"48", b"9" * 30, b"RNN", b"Gather", b"OneHot", b"Equal",
    b"Slice", b"Split", b"Concat", b"Shape", b"Reshape", b"Flatten", b"Expand", b"Cast", b"Mul",
    b"Sub", b"Tanh", b"Sigmoid", b"LogSoftmax", b"layout", b"h0", b"W", b"x",
]  # fmt: skip
WORDS["json"] = [
    *NUMBERS, b"{", b"}", b"[", b"]", b'"', b",", b":", b"null", b"true", b"NaN", b"-Infinity",
    b"1e999", b"-0", b"9" * 400, b"\\ud800", b"\\u0000", b"\n", b"[" * 600, b'{"a":' * 600, b"\xff",
]  # fmt: skip
WORDS["keras"] = [
    *WORDS["json"], b"\x89HDF\r\n\x1a\n", b"OHDR", b"OCHK", b"FRHP", b"FHDB", b"TREE", b"HEAP",
    b"SNOD", b"GCOL", b"FADB", b"layers", b"vars", b"cell", b"name", b"secret.h5", b"/secret",
    b'"GRU"', b'"LSTM"', b'"Dense"', b'"units": ', b'"reset_after": true', b"cfg", b"[net]\\n",
]  # fmt: skip
WORDS["h5"] = [*WORDS["keras"], b"model_config", b"layer_names", b"weight_names", b"model_weights"]
WORDS["pt"] = [
    *NUMBERS, b"ctorch._utils\n_rebuild_tensor_v2\n", b"cbuiltins\neval\n", b"cos\nsystem\n",
    b"ctorch\nFloatStorage\n", b"ctorch\nHalfStorage\n", b"ctorch\nload\n",
    b"ccollections\nOrderedDict\n", b"\x85R", b"Q", b"q\1", b"h\1", b"\x86", b"\x87", b"K\1",
    b"J\xff\xff\xff\x7f", b"X\3\0\0\0abc", b"}", b"]", b")", b"(", b"t", b"u", b"s", b".", b"cpu",
    b"storage", b"\x88", b"N", b"weight_ih_l0", b"bias",
]  # fmt: skip
WORDS["pt2"] = [
    *WORDS["json"], b'"as_int": ', b'"as_expr"', b'"as_tensor"', b"$x", b"torch.ops.aten.",
    b"linear.default", b"add.Tensor", b"view.default", b"select.int", b"zeros.default",
    b"expand.default", b"lstm.input", b"sym_size.int", b"_operator.mul", b"os.system",
]  # fmt: skip
WORDS["state"] = [*WORDS["safetensors"], b"weight_hh_l0", b"BF16", b"I64", b"_reverse", b"bias"]
for kind in ("checkpoint", "run", "log"):
    WORDS[kind] = WORDS["json"]


def corpus(kind: str) -> list[Path]:
    """The files that are kept: good ones, and what was found."""
    folder = CORPUS / kind
    return sorted(folder.iterdir()) if folder.exists() else []


def mutations(kind: str, seed: int) -> Iterator[bytes]:
    """Mutated corpus files without end. Of a form with an inner structure most are changed there,
    the others anywhere."""
    rng, words, inner = random.Random(seed), WORDS[kind], STRUCTURED.get(kind)
    longest = LARGEST if inner else LONGEST_SEED
    good = [*(path.read_bytes() for path in corpus(kind)), *made(kind)]
    files = [data for data in good if len(data) <= longest]
    return (
        inner(rng, rng.choice(files), words)
        if inner and rng.random() < INSIDE
        else _mutated(rng, files, words)
        for _ in iter(int, 1)
    )


def _mutated(rng: random.Random, files: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    random, choice = rng.random, rng.choice
    data = _changed(rng, choice(files), words)
    if random() * LARGE < 1:  # a line, or what it takes to be larger than any cfg
        piece = choice([data, choice(words), b"[gru]\n", data[: len(data) // 8]]) or b"\n"
        at = int(random() * (len(data) + 1))
        data = data[:at] + piece * (int(random() * LARGEST) // len(piece)) + data[at:]
    return data


def _changed(rng: random.Random, data: bytes, words: Sequence[bytes]) -> bytes:
    """A few small changes."""
    random, choice = rng.random, rng.choice
    for _ in range(1 + int(4 * random() ** 2)):
        change = choice(CHANGES)
        at = int(random() * (len(data) + 1))
        data = change(data, at, at + int(random() ** 3 * 40), choice(words))
    return data


INSIDE = 0.8  # the share of changes within the structure, of forms that have one
STRUCTURED: dict[str, structured.Change] = {
    "safetensors": structured.in_safetensors(structured.json_text(_changed)),
    "npz": structured.in_a_zip({}, _changed),
    "onnx": structured.in_protobuf(_changed),
    "keras": structured.in_a_zip({".json": structured.json_text(_changed)}, _changed),
    "h5": _changed,
    "pt": structured.in_a_zip({}, _changed),
    "pt2": structured.in_a_zip({".json": structured.json_text(_changed)}, _changed),
    "state": structured.in_safetensors(structured.json_text(_changed)),
    "checkpoint": structured.in_a_checkpoint,
    "run": structured.json_text(_changed),
    "log": structured.a_line(structured.json_text(_changed)),
}


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
