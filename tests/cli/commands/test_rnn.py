"""`minidark rnn`: darknet's command lines, and what darknet printed for them."""

from __future__ import annotations

import itertools
import os
import re
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from minidark import load_network
from tests.cli.running import assert_refused, assert_wrong_usage, output, run
from tests.golden_cases import GOLDEN, TEXT_CASES, record
from tests.helpers import cfg

CFG = cfg(
    "net inputs=256 batch=4 time_steps=8 max_batches=4 learning_rate=.01",
    "gru output=4 tanh=1",
    "connected output=256 activation=linear",
    "softmax",
)
SMALL = cfg("net inputs=20", "lstm output=4", "connected output=20", "softmax")
ROWS = 32


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    """a.cfg is over bytes, small.cfg over twenty symbols; both have weights."""
    for name, text in (("a", CFG), ("small", SMALL)):
        (folder / f"{name}.cfg").write_text(text)
        load_network(f"{name}.cfg", seed=1).save_weights(f"{name}.weights")
    (folder / "text.txt").write_bytes(b"The quick brown fox jumps over the lazy dog.\n" * 50)


# --- what darknet printed -----------------------------------------------------------------


def recorded(verb: str) -> list[Any]:
    """(case, call) of every record of a verb."""
    calls = [(name, call) for name in TEXT_CASES for call in record(name).get(verb, [])]
    assert calls
    return [
        pytest.param(name, call, id=f"{name}-{n}")
        for n, (name, call) in enumerate(calls)
    ]  # fmt: skip


def holding(verb: str) -> list[str]:
    return [name for name in TEXT_CASES if verb in record(name)]


def as_typed(verb: str, name: str, call: dict[str, Any]) -> list[str]:
    """The command line of a record."""
    case = GOLDEN / name
    args = ["rnn", verb, str(case / "net.cfg"), str(case / "net.weights")]
    for key in ("seed", "srand", "len", "temp"):
        if key in call:
            args += [f"-{key}", str(call[key])]
    if "tokens" in call:
        args += ["-tokens", str(case / call["tokens"])]
    return args


@pytest.mark.parametrize(("name", "call"), recorded("generate"))
def test_generate_prints_darknets_bytes(name: str, call: dict[str, Any]) -> None:
    assert output(*as_typed("generate", name, call)) == bytes.fromhex(call["stdout_hex"])


@pytest.mark.parametrize(("name", "call"), recorded("generate_tokens"))
def test_generate_prints_the_names_of_tokens_as_darknet_does(
    name: str, call: dict[str, Any]
) -> None:
    assert output(*as_typed("generate", name, call)) == bytes.fromhex(call["stdout_hex"])


@pytest.mark.parametrize(("name", "call"), recorded("generatetactic"))
def test_generatetactic_prints_darknets_bytes(name: str, call: dict[str, Any]) -> None:
    typed = as_typed("generatetactic", name, call)
    assert output(*typed, stdin=call["stdin"].encode()) == bytes.fromhex(call["stdout_hex"])


@pytest.mark.parametrize("name", TEXT_CASES)
def test_valid_prints_darknets_lines(name: str) -> None:
    call = record(name)["valid"]
    lines = output(*as_typed("valid", name, call), stdin=call["stdin"].encode()).decode()
    assert lines.endswith("\n")
    found = lines.splitlines()
    assert found[: len(call["lines"])] == call["lines"]
    assert found[-1] == call["last_line"]
    assert len(found) == len(call["stdin"]) - 1


@pytest.mark.parametrize("name", holding("validtactic"))
def test_validtactic_prints_darknets_lines(name: str) -> None:
    call = record(name)["validtactic"]
    lines = output(*as_typed("validtactic", name, call), stdin=call["stdin"].encode())
    assert lines.decode() == "".join(f"{line}\n" for line in call["lines"])


@pytest.mark.parametrize("name", TEXT_CASES)
def test_vec_prints_darknets_lines(name: str) -> None:
    call = record(name)["vec"]
    assert output(*as_typed("vec", name, call), stdin=call["stdin"].encode()) == (
        call["stdout"].encode()
    )


# --- command lines ------------------------------------------------------------------------

GENERATE = ["generate", "a.cfg", "a.weights", "-srand", "3", "-len", "20"]


@pytest.mark.parametrize(
    "typed",
    [
        "-srand 3 -len 20 generate a.cfg a.weights",
        "generate -srand 3 a.cfg -len 20 a.weights",
        "-nogpu generate a.cfg a.weights -srand 3 -len 20",
        "-i 0 generate a.cfg -gpus 0,1 a.weights -srand 3 -len 20 -nogpu",
        "generate a.cfg a.weights -len 20 -srand 3 -srand 4 -len 5",  # the first counts
        "generate a.cfg a.weights -len +20 -srand 3 -temp .7",
        "generate a.cfg a.weights -len 20 -srand 3 -temp 0.70 -clear -tokenized -file x",
        "--strict generate a.cfg a.weights -len 20 -srand 3 --weights-order pjreddie",
        "generate a.cfg --set gru.tanh=1 a.weights -len 20 -srand 3",
    ],
)
def test_flags_stand_anywhere(typed: str) -> None:
    assert output("rnn", *typed.split()) == output("rnn", *GENERATE)


@pytest.mark.parametrize(
    ("verb", "spelled_out", "stdin"),
    [
        ("generate", ["-srand", "3", "-seed", "\n\n", "-len", "1000", "-temp", ".7"], None),
        ("generatetactic", ["-srand", "3", "-len", "1000", "-temp", ".7"], b"ab"),
        ("valid", ["-seed", "\n\n"], b"some text"),
        ("validtactic", ["-seed", "\n\n"], b"some >>text"),
        ("vec", ["-seed", "\n\n"], b"some\ntext"),
    ],
)
def test_defaults_are_darknets(verb: str, spelled_out: list[str], stdin: bytes | None) -> None:
    args = ["rnn", verb, "a.cfg", "a.weights"]
    srand = ["-srand", "3"] if "-srand" in spelled_out else []
    plain = output(*args, *srand, stdin=stdin)
    assert plain == output(*args, *spelled_out, stdin=stdin) != b""
    others = ["-seed", "x"] if "-seed" in spelled_out else ["-temp", "1.5"]
    assert plain != output(*args, *srand, *others, stdin=stdin)


def test_without_srand_each_text_is_another() -> None:
    texts = {output("rnn", "generate", "a.cfg", "a.weights", "-len", "50") for _ in range(2)}
    assert len(texts) == 2


def test_the_cfgs_streams_and_steps_do_not_matter() -> None:
    """darknet's generate needs a second cfg with batch=1 and time_steps=1."""
    Path("one.cfg").write_text(CFG.replace("batch=4", "batch=1").replace("steps=8", "steps=1"))
    one = output("rnn", "generate", "one.cfg", *GENERATE[2:])
    assert output("rnn", *GENERATE) == one


def test_a_bare_name_is_a_shipped_cfg() -> None:
    text = output("rnn", "generate", "rnn-vanilla", "-len", "3", "-srand", "1")
    assert len(text) == 2 + 3 + 1


@pytest.mark.parametrize(
    ("verb", "flags", "seed", "stdin"),
    [
        ("generate", ["-len", "30", "-srand", "9"], 9, None),
        ("generatetactic", ["-len", "30", "-srand", "9"], 9, b"ab"),
        ("valid", [], 1, b"some text"),
        ("validtactic", [], 1, b"some >>text"),
        ("vec", [], 1, b"some\ntext"),
    ],
)
def test_without_weights_they_are_those_of_srand(
    verb: str, flags: list[str], seed: int, stdin: bytes | None
) -> None:
    load_network("a.cfg", seed=seed).save_weights("drawn.weights")
    drawn = output("rnn", verb, "a.cfg", "drawn.weights", *flags, stdin=stdin)
    assert output("rnn", verb, "a.cfg", *flags, stdin=stdin) == drawn


VERBS = "train, generate, valid, vec, generatetactic, validtactic"
TWO_WORDS = "rnn needs a verb and a cfg: minidark rnn VERB CFG [WEIGHTS] [FLAGS]"


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("", TWO_WORDS),
        ("generate", TWO_WORDS),
        ("-srand 3 generate", TWO_WORDS),
        (
            "generat a.cfg",
            f"unknown verb 'generat' (did you mean 'generate'?); the verbs are {VERBS}",
        ),
        ("test a.cfg a.weights", f"unknown verb 'test'; the verbs are {VERBS}"),
        ("generate a.cfg -sead x", "unknown flag -sead (did you mean '-seed'?)"),
        ("generate a.cfg -zzzz", "unknown flag -zzzz"),
        ("generate a.cfg a.weights -len", "-len needs a value"),
        ("valid a.cfg -seed", "-seed needs a value"),
        ("generate a.cfg a.weights b.weights c", "one argument too many: 'b.weights'"),
        ("generate a.cfg -len ten", "-len 'ten' is not an integer"),
        ("generate a.cfg -len 1.5", "-len '1.5' is not an integer"),
        ("generate a.cfg -len 99999999999", "-len '99999999999' is not an integer"),
        ("generate a.cfg -srand 0x1", "-srand '0x1' is not an integer"),
        ("generatetactic a.cfg -srand one", "-srand 'one' is not an integer"),
        ("generate a.cfg -temp warm", "-temp 'warm' is not a number"),
        ("generate a.cfg -temp nan", "-temp 'nan' is not a number"),
        ("generate a.cfg -temp -", "-temp '-' is not a number"),
    ],
)
def test_wrong_usage_is_2_and_says_what_is_wrong(typed: str, message: str) -> None:
    assert_wrong_usage(run("rnn", *typed.split(), stdin=b"a"), message)


def test_a_temperature_may_be_in_exponents_as_atof_reads_it() -> None:
    args = [*GENERATE, "-temp"]
    assert output("rnn", *args, "3e-1") == output("rnn", *args, "0.3")


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["valid", "none.cfg"], 3, "none.cfg: cannot read: No such file or directory"),
        (["valid", "a.cfg", "none"], 4, "none: cannot read: No such file or directory"),
        (["generate", "a.cfg", "-temp", "-1"], 4, "temperature -1.0 is not 0 or more"),
        (["generate", "a.cfg", "-tokens", "none"], 4,
         "none: cannot read: No such file or directory"),
        (["generate", "a.cfg", "-tokens", "text.txt"], 4,
         "text.txt: 50 names; this network has 256 tokens"),
        (["generate", "a.cfg", "-seed", ""], 4,
         "the seed is empty; sampling needs at least one symbol"),
        (["generate", "small.cfg", "-seed", "A"], 4,
         "the seed contains byte 65; this network's are 0 to 19"),
        (["generatetactic", "a.cfg"], 4,
         "standard input is empty; generatetactic continues the text on it"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_in_one_line(args: list[str], code: int, message: str) -> None:
    assert_refused(run("rnn", *args, "-srand", "1", stdin=b""), code, message)


@pytest.mark.parametrize(
    ("verb", "flags", "stdin"),
    [
        ("valid", [], b"\x01\x02A"),
        ("valid", ["-seed", "A"], b"\x01\x02"),
        ("validtactic", [], b"\x01\x02A"),
        ("validtactic", ["-seed", "A"], b"\x01\x02"),
        ("vec", ["-seed", "\x01"], b"A"),
        ("vec", ["-seed", "A"], b"\x01"),
        ("generatetactic", ["-srand", "1"], b"\x01A"),
    ],
)
def test_a_byte_that_the_network_does_not_have_is_named(
    verb: str, flags: list[str], stdin: bytes
) -> None:
    result = run("rnn", verb, "small.cfg", "small.weights", *flags, stdin=stdin)
    assert result.exit_code == 4, result.exception
    assert re.search(r"^minidark: error: .*\b65\b.*\b0 to 19$", result.stderr)


@pytest.mark.parametrize("verb", ["valid", "validtactic"])
def test_an_empty_seed_reads_nothing_first(verb: str) -> None:
    """As in darknet: what is measured begins at zero state."""
    args = ["rnn", verb, "a.cfg", "a.weights", "-seed"]
    plain, seeded = (output(*args, seed, stdin=b">>>a text") for seed in ("", "x"))
    assert len(plain.splitlines()) == len(seeded.splitlines())
    assert plain != seeded


@pytest.mark.parametrize("stdin", [b"", b"a"])
@pytest.mark.parametrize("verb", ["valid", "validtactic"])
def test_less_than_two_symbols_measure_nothing(verb: str, stdin: bytes) -> None:
    assert output("rnn", verb, "a.cfg", stdin=stdin) == b""


def test_temperature_0_takes_the_likeliest() -> None:
    """darknet divides by it and prints the last symbol again and again."""
    texts = {output("rnn", *GENERATE[:3], "-temp", "0", "-srand", srand) for srand in "123"}
    assert len(texts) == 1


@pytest.mark.parametrize("seed", ["fü", "\U0001f600", "\udcff"])
def test_a_seed_is_any_bytes(seed: str) -> None:
    """darknet's `char` is signed, and writes in front of its array."""
    text = output("rnn", *GENERATE, "-seed", seed)
    assert text.startswith(seed.encode("utf-8", "surrogateescape"))


@pytest.mark.parametrize("text", [b"a\xffb", b"\xff" * 5, b"a\0b", b"\0\0"])
def test_valid_reads_every_byte(text: bytes) -> None:
    """darknet stops with an error at byte 255."""
    lines = output("rnn", "valid", "a.cfg", "a.weights", stdin=text).splitlines()
    assert len(lines) == len(text) - 1


def test_a_negative_length_prints_the_seed_alone() -> None:
    assert output("rnn", *GENERATE[:3], "-len", "-5", "-seed", "ab") == b"ab\n"


# --- full stops ---------------------------------------------------------------------------


def certain(path: str, *symbols: int) -> None:
    """A network that goes round `symbols`, whatever the draws; it begins anew after others."""
    net = load_network("flat.cfg")
    for p in net.parameters():
        p.value[...] = 0
    weights = next(p.value for p in net.parameters() if p.kind == "weights")
    weights[symbols[0], :] = 50
    for one, following in itertools.pairwise(symbols):
        weights[:, one] = 0
        weights[following, one] = 100
    net.save_weights(path)


def after_full_stops(prompt: bytes) -> bytes:
    """What is printed by a network that says "b." and a line break, again and again."""
    Path("flat.cfg").write_text(
        cfg("net inputs=256", "connected output=256 activation=linear", "softmax")
    )
    certain("flat.weights", *b"b.\n")
    args = ["rnn", "generatetactic", "flat.cfg", "flat.weights", "-srand", "1", "-len", "9"]
    return output(*args, stdin=prompt)


def test_generatetactic_stops_at_a_full_stop_and_a_line_break() -> None:
    assert after_full_stops(b"a") == b"b.\n"  # the newline is the one that ends the output


def test_generatetactic_does_not_stop_at_the_prompts_own_full_stop() -> None:
    """darknet's last symbol is EOF when the prompt has been read."""
    assert after_full_stops(b"b.") == b"\nb.\n"


# --- tokens -------------------------------------------------------------------------------


def test_the_seed_is_token_numbers_by_its_bytes() -> None:
    Path("names").write_text("".join(f"t{n}\n" for n in range(20)))
    args = ["rnn", "generate", "small.cfg", "small.weights", "-tokens", "names", "-srand", "1"]
    text = output(*args, "-seed", "\x03\x13", "-len", "4")
    assert re.fullmatch(rb"t3 t19 (t[0-9]+ ){4}\n", text)


def test_a_seed_byte_that_is_no_token_is_refused() -> None:
    Path("names").write_text("".join(f"t{n}\n" for n in range(20)))
    args = ["rnn", "generate", "small.cfg", "small.weights", "-tokens", "names", "-srand", "1"]
    message = "the seed contains byte 65; this network's are 0 to 19"
    assert_refused(run(*args, "-seed", "A"), 4, message)


@pytest.mark.parametrize(
    "command", ["rnn generate -srand 1", "rnn generatetactic -srand 1", "generate --srand 1"]
)
def test_more_symbols_than_bytes_need_names(command: str) -> None:
    Path("wide.cfg").write_text(cfg("net inputs=300", "connected output=300", "softmax"))
    net = load_network("wide.cfg")
    net.parameters()[0].value[299] = 100  # token 299 again and again
    net.save_weights("wide.weights")
    result = run(*command.split(), "wide.cfg", "wide.weights", stdin=b"a")
    message = "300 symbols do not fit into bytes; name them with a tokens file"
    assert_refused(result, 4, message)


# --- train --------------------------------------------------------------------------------

LINE = (
    r"{}: [0-9]+\.[0-9]{{6}}, [0-9]+\.[0-9]{{6}} avg, 0\.010000 rate, "
    r"[0-9]+\.[0-9]{{6}} seconds, [0-9]+\.[0-9]{{6}} epochs"
)


def seen(path: str) -> int:
    (rows,) = struct.unpack_from("<q", Path(path).read_bytes(), 12)
    return int(rows)


def written(folder: Path) -> list[str]:
    """The weight files of a run, without what they were made with."""
    return sorted(p.name for p in folder.iterdir() if p.suffix != ".json")


def trained(*args: str) -> list[str]:
    """The lines of a run that ends well, but for the first."""
    result = run("rnn", "train", *args)
    assert (result.exit_code, result.stdout_bytes) == (0, b""), result.stderr
    begin, *lines = result.stderr.splitlines()
    assert begin.startswith("Learning Rate: 0.01, Momentum: 0.9, Decay: 0.0001")
    return lines


def assert_batches(lines: list[str], numbers: range) -> None:
    for line, number in zip(lines, numbers, strict=True):
        assert re.fullmatch(LINE.format(number), line)


def test_train_tells_a_line_for_each_batch_as_darknet_does(folder: Path) -> None:
    lines = trained("a.cfg", "-file", "text.txt")
    assert_batches(lines, range(1, 5))
    loss, average = (
        [float(number) for number in re.findall(pattern, "\n".join(lines))]
        for pattern in (r": ([0-9.]+),", r", ([0-9.]+) avg")
    )
    assert average[0] == loss[0] == pytest.approx(5.545, abs=0.3)  # nats: log 256
    for n in range(1, 4):
        assert average[n] == pytest.approx(0.9 * average[n - 1] + 0.1 * loss[n], abs=2e-6)
    assert written(folder / "backup") == ["a_final.weights"]
    assert seen("backup/a_final.weights") == 4 * ROWS


def test_train_leaves_a_backup_every_hundred_batches(folder: Path) -> None:
    Path("a.train.cfg").write_text(CFG)
    lines = trained("a.train.cfg", "-file", "text.txt", "--set", "net.max_batches=150")
    assert_batches(lines, range(1, 151))
    assert written(folder / "backup") == ["a.backup", "a_final.weights"]
    assert seen("backup/a.backup") == 100 * ROWS
    assert seen("backup/a_final.weights") == 150 * ROWS


def test_train_goes_on_from_weights_and_with_clear_counts_anew() -> None:
    net = load_network("a.cfg", "a.weights")
    net.seen = 3 * ROWS
    net.save_weights("started.weights")
    assert_batches(trained("a.cfg", "started.weights", "-file", "text.txt"), range(4, 5))
    assert seen("backup/a_final.weights") == 4 * ROWS
    cleared = trained("a.cfg", "started.weights", "-file", "text.txt", "-clear")
    assert_batches(cleared, range(1, 5))


def test_train_changes_the_weights_of_the_gru() -> None:
    """darknet's GRU has no backward: only [connected] learns."""
    trained("a.cfg", "a.weights", "-file", "text.txt")
    before, after = (load_network("a.cfg", w) for w in ("a.weights", "backup/a_final.weights"))
    for old, new in zip(before.parameters(), after.parameters(), strict=True):
        assert (old.value != new.value).any(), old.name


@pytest.mark.parametrize("args", [["--set", "net.max_batches=0"], []])
def test_a_run_that_has_nothing_to_train_still_leaves_its_final_weights(args: list[str]) -> None:
    net = load_network("a.cfg", "a.weights")
    net.seen = 4 * ROWS
    net.save_weights("done.weights")
    assert trained("a.cfg", "done.weights", "-file", "text.txt", *args) == []
    assert Path("backup/a_final.weights").read_bytes() == Path("done.weights").read_bytes()


def test_each_run_begins_with_other_weights() -> None:
    finals = []
    for _ in range(2):
        trained("a.cfg", "-file", "text.txt")
        finals.append(Path("backup/a_final.weights").read_bytes())
    assert finals[0] != finals[1]


def losses(lines: list[str]) -> list[float]:
    return [float(line.split()[1].rstrip(",")) for line in lines]


def test_runs_from_weights_begin_at_other_places_unless_srand_says_where() -> None:
    """darknet's streams begin at random ones; the same places again teach the same again."""
    call = ["a.cfg", "a.weights", "-file", "text.txt"]
    assert losses(trained(*call)) != losses(trained(*call))
    seeded = [losses(trained(*call, "-srand", seed)) for seed in ("5", "5", "6")]
    assert seeded[0] == seeded[1] != seeded[2]
    fresh = [losses(trained("a.cfg", "-file", "text.txt", "-srand", "5")) for _ in range(2)]
    assert fresh[0] == fresh[1] != seeded[0]


def test_seconds_are_one_batchs_and_epochs_go_on_from_those_of_the_weights() -> None:
    net = load_network("a.cfg", "a.weights")
    net.seen = 1000 * ROWS
    net.save_weights("started.weights")
    more = ["--set", "net.max_batches=1040"]
    lines = trained("a.cfg", "started.weights", "-file", "text.txt", *more)
    seconds, epochs = ([float(line.split()[at]) for line in lines] for at in (-4, -2))
    size = Path("text.txt").stat().st_size
    assert epochs == pytest.approx([n * ROWS / size for n in range(1001, 1041)], abs=1e-6)
    assert max(seconds) < sum(seconds) / 2  # they do not add up from line to line


def test_the_text_is_by_default_darknets() -> None:
    result = run("rnn", "train", "a.cfg")
    default = os.path.join("data", "shakespeare.txt")
    assert_refused(result, 4, f"{default}: cannot read: No such file or directory")


def test_an_unwritable_backup_folder_is_found_out_before_the_first_batch() -> None:
    Path("backup").write_text("a file")
    result = run("rnn", "train", "a.cfg", "-file", "text.txt")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("minidark: error: backup: cannot write: ")
    assert not re.search("avg", result.stderr)


def test_nul_bytes_are_text_like_others() -> None:
    """darknet stops at them."""
    Path("nul.txt").write_bytes(b"\0abc" * 40)
    assert_batches(trained("a.cfg", "-file", "nul.txt"), range(1, 5))


def small_for_training() -> None:
    Path("small.cfg").write_text(
        SMALL.replace("inputs=20", "inputs=20\nmax_batches=3\nlearning_rate=.01\ntime_steps=4")
    )


def test_a_tokenized_text_is_integers() -> None:
    small_for_training()
    Path("ids.txt").write_text("1 2\t3\n" * 30)
    lines = trained("small.cfg", "-tokenized", "-file", "ids.txt")
    assert_batches(lines, range(1, 4))
    assert lines[-1].endswith(f" {3 * 4 / 90:.6f} epochs")  # of 90 tokens, not of its bytes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 2 20 3", "token 2 is 20; this network's are 0 to 19"),
        ("1 2 3 -1", "token 3 is -1; this network's are 0 to 19"),
        ("one 2", "token 0 is 'one', not an integer"),
        (" \n", "empty; a tokenized text is integers separated by spaces"),
    ],
)
def test_a_token_that_the_network_does_not_have_is_named_before_training(
    text: str, said: str
) -> None:
    small_for_training()
    Path("ids.txt").write_text(text)
    result = run("rnn", "train", "small.cfg", "-file", "ids.txt", "-tokenized")
    assert_refused(result, 4, f"ids.txt: {said}")
    assert not Path("backup").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_saves_and_tells_by_its_exit_code(number: int, code: int) -> None:
    args = ["rnn", "train", "a.cfg", "-file", "text.txt", "--set", "net.max_batches=10000000"]
    with subprocess.Popen(
        [sys.executable, "-m", "minidark", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr
        assert process.stderr.readline().startswith(b"Learning Rate")
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, b"")
    assert b"Traceback" not in err
    assert seen("backup/a.backup") % ROWS == 0 < seen("backup/a.backup")


@pytest.mark.parametrize("verb", ["train", "generate", "valid", "vec"])
@pytest.mark.parametrize(("layer", "key"), [("gru", "reset_after"), ("rnn", "elman")])
def test_a_layer_that_no_darknet_has_is_refused(layer: str, key: str, verb: str) -> None:
    text = CFG.replace("[gru]", f"[{layer}]").replace("tanh=1", f"{key}=1")
    Path("after.cfg").write_text(text)
    message = (
        f"after.cfg: 0.{layer}: darknet has no {key}=1; `minidark train`, `generate`, `valid` and "
        "`vec` take it"
    )
    assert_refused(run("rnn", verb, "after.cfg", "-file", "text.txt"), 3, message)


@pytest.mark.parametrize("verb", ["train", "generate", "valid", "vec"])
def test_tied_weights_that_no_darknet_has_are_refused(verb: str) -> None:
    tied = cfg("net inputs=256", "connected activation=linear", "connected tied=0", "softmax")
    Path("tied.cfg").write_text(tied)
    message = (
        "tied.cfg: 1.connected: darknet has no tied; `minidark train`, `generate`, `valid` and "
        "`vec` take it"
    )
    assert_refused(run("rnn", verb, "tied.cfg", "-file", "text.txt"), 3, message)
