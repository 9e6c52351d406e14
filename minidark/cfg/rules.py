"""Warnings about a cfg that is valid but probably not intended: a table of small functions.

A rule gets a `Plan`, whose values are valid, and yields the places that it warns of. It must not
warn where the cfg may be intended: a false alarm is a bug. Rules about training ignore a cfg with
one row per pass, which only samples.

Source: darknet's silent behaviour; see docs/parity.md and docs/cfg.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from minidark.cfg import options as o
from minidark.cfg.keys import keys_of
from minidark.cfg.links import PlannedLayer, line_of
from minidark.cfg.plan import Plan

Place = tuple[int, str]  # line, message
Look = Callable[["Case"], Iterator[Place]]

BOUNDED = frozenset({"logistic", "loggy", "tanh", "hardtan", "plse"})
RATE_OF_SGD = 0.05  # too high for Adam, whose step length is about its rate
FEW_EPOCHS, MANY_EPOCHS = 0.1, 200
ONE_SYMBOL_HINT = "set batch to the number of streams, and time_steps to about 50"
UTF16 = "looks like UTF-16, but would be read byte by byte"
OF_SGD, OF_ADAM = ("momentum",), ("B1", "B2", "eps")
OF_POLICY = {  # keys that a policy uses; burn_in uses power too
    "step": ("step", "scale"),
    "steps": ("steps", "scales"),
    "exp": ("gamma",),
    "sigmoid": ("gamma", "step"),
    "poly": ("power",),
    "random": ("power",),
}
NEEDED = {"step": ("step", "scale"), "exp": ("gamma",), "sigmoid": ("gamma", "step")}


@dataclass(frozen=True, slots=True)
class Rule:
    """`code` and `name` are permanent, because scripts depend on them. `hint` is the remedy."""

    code: str
    name: str
    hint: str
    look: Look


@dataclass(frozen=True, slots=True)
class Case:
    """The input of a rule. text_bytes: length of the training text, if known; utf16: whether it
    looks like UTF-16."""

    plan: Plan
    text_bytes: int | None = None
    utf16: bool = False

    @property
    def net(self) -> o.NetOptions:
        return self.plan.net

    @property
    def trains(self) -> bool:
        return self.net.rows * self.net.subdivisions > 1

    @property
    def batch_rows(self) -> int:
        """Symbols per batch."""
        return self.net.rows * self.net.subdivisions

    @property
    def for_pairs(self) -> bool:
        """Whether the cfg is for pairs, of which time_steps is the longest length."""
        return any(
            isinstance(layer.options, o.AttentionOptions) and layer.options.over == o.OVER_SOURCE
            for layer in self.plan.layers
        )

    def has_key(self, key: str) -> bool:
        return key in self.plan.sections[0].pairs

    def line(self, *keys: str) -> int:
        """Line of a key in [net]."""
        return line_of(self.plan.sections[0], *keys)

    @property
    def costs(self) -> bool:
        """Whether the network has a cost."""
        return self.plan.layers[-1].options.has_cost

    def before(self, *kinds: type[o.LayerOptions]) -> Iterator[tuple[PlannedLayer, PlannedLayer]]:
        """Each layer of these kinds, with the next layer."""
        for layer, following in itertools.pairwise(self.plan.layers):
            if isinstance(layer.options, kinds):
                yield layer, following


def _logistic_candidate(case: Case) -> Iterator[Place]:
    for layer in case.plan.layers:
        if isinstance(layer.options, o.GruOptions) and "tanh" not in layer.section.pairs:
            message = "[gru] without tanh=1 has logistic candidates, which are all positive"
            if layer.options.reset_after:
                message += "; nn.GRU, which reset_after=1 follows, has tanh"
            yield layer.section.line, message


def _output_of_one(case: Case) -> Iterator[Place]:
    for layer in case.plan.layers:
        has_output = layer.options.has_width and layer.tied is None
        if has_output and "output" not in layer.section.pairs:
            yield layer.section.line, f"[{layer.section.type}] without output is 1 wide"


def _one_stream(case: Case) -> Iterator[Place]:
    net = case.net
    if net.streams == 1 and net.subdivisions > 1:
        message = f"batch={net.batch} / subdivisions={net.subdivisions} leaves one stream per pass"
        yield case.line("subdivisions", "batch"), message


def _norm_of_one(case: Case) -> Iterator[Place]:
    if case.net.streams > 1 or not case.trains:
        return
    for layer in case.plan.layers:
        if layer.options.is_recurrent and layer.options.normalizes:
            message = (
                f"[{layer.section.type}] normalizes over streams, but one stream has no variance"
            )
            yield line_of(layer.section, "batch_normalize"), message


def _nothing_divided(case: Case) -> Iterator[Place]:
    if case.has_key("batchnorm") and not case.plan.normalizes:
        yield case.line("batchnorm"), "batchnorm has no effect without batch norm in a layer"


def _adam_decays(case: Case) -> Iterator[Place]:
    if case.net.adam and case.net.decay and case.trains:
        default = "" if case.has_key("decay") else ", darknet's default"
        message = (
            f"decay={case.net.decay:g}{default}: Adam adds it to the gradient, also of "
            "biases and scales"
        )
        yield case.line("decay", "adam"), message


def _adam_rate(case: Case) -> Iterator[Place]:
    if case.net.adam and case.net.learning_rate >= RATE_OF_SGD and case.trains:
        message = (
            f"learning_rate={case.net.learning_rate:g} suits SGD: with adam=1 every weight changes "
            "by about this much in each batch"
        )
        yield case.line("learning_rate"), message


def _other_optimizer(case: Case) -> Iterator[Place]:
    keys, other = (OF_SGD, "adam=1") if case.net.adam else (OF_ADAM, "adam=0")
    for key in filter(case.has_key, keys):
        yield case.line(key), f"{key} has no effect with {other}"


def _other_policy(case: Case) -> Iterator[Place]:
    used = set(OF_POLICY.get(case.net.policy, ()))
    if case.net.burn_in:
        used.add("power")
    for key in dict.fromkeys(key for keys in OF_POLICY.values() for key in keys):
        if case.has_key(key) and key not in used:
            yield case.line(key), f"{key} has no effect with policy={case.net.policy}"


def _policy_without_keys(case: Case) -> Iterator[Place]:
    missing = [key for key in NEEDED.get(case.net.policy, ()) if not case.has_key(key)]
    if missing:
        keys = keys_of(o.NetOptions)
        defaults = " and ".join(f"{key}={keys[key].default:g}" for key in missing)
        yield case.line("policy"), f"policy={case.net.policy} uses the defaults {defaults}"


def _steps_too_late(case: Case) -> Iterator[Place]:
    net = case.net
    late = [step for step in net.steps if net.max_batches and step >= net.max_batches]
    if net.policy == "steps" and late:
        yield case.line("steps"), f"step {late[0]} is not before max_batches={net.max_batches}"
    if net.policy == "step" and net.max_batches and net.step >= net.max_batches:
        yield case.line("step"), f"step={net.step} is not before max_batches={net.max_batches}"


def _burn_in_too_long(case: Case) -> Iterator[Place]:
    net = case.net
    if net.max_batches and net.burn_in >= net.max_batches:
        yield (
            case.line("burn_in"),
            f"burn_in={net.burn_in} lasts to the end, batch {net.max_batches}",
        )


def _no_rate(case: Case) -> Iterator[Place]:
    if case.net.learning_rate == 0 and case.trains:
        yield case.line("learning_rate"), "learning_rate=0: the network does not learn"


def _no_cost(case: Case) -> Iterator[Place]:
    if not case.costs and case.trains:
        last = case.plan.layers[-1].section
        message = f"the last layer, [{last.type}], has no cost, so the network cannot train"
        yield line_of(last, "noloss"), message


def _other_outputs(case: Case) -> Iterator[Place]:
    outputs, inputs = case.plan.layers[-1].size.outputs, case.net.row_inputs
    if case.costs and outputs != inputs:
        last = next((x for x in reversed(case.plan.layers) if "output" in x.section.pairs), None)
        section = last.section if last else case.plan.layers[-1].section
        message = f"{outputs} outputs for inputs={inputs}: they cannot predict these symbols"
        yield line_of(section, "output"), message


def _dropped_predictions(case: Case) -> Iterator[Place]:
    for layer, following in case.before(o.DropoutOptions):
        if following.options.has_cost:
            message = f"[dropout] right before [{following.section.type}] zeroes predictions"
            yield layer.section.line, message


def _bounded_scores(case: Case) -> Iterator[Place]:
    for layer, following in case.before(o.ConnectedOptions, o.ActivationOptions, o.ShortcutOptions):
        activation = getattr(layer.options, "activation", None)
        if isinstance(following.options, o.SoftmaxOptions) and activation in BOUNDED:
            default = "" if "activation" in layer.section.pairs else ", the default,"
            message = f"activation={activation}{default} limits the range of [softmax]'s input"
            yield line_of(layer.section, "activation"), message


def _softmax_twice(case: Case) -> Iterator[Place]:
    for _, following in case.before(o.SoftmaxOptions):
        if isinstance(following.options, o.SoftmaxOptions):
            message = "[softmax] right after a [softmax]: its inputs are too similar"
            yield following.section.line, message


def _grouped_predictions(case: Case) -> Iterator[Place]:
    last = case.plan.layers[-1]
    if case.costs and isinstance(last.options, o.SoftmaxOptions) and last.options.groups > 1:
        message = f"groups={last.options.groups} at the end splits each prediction into parts"
        yield line_of(last.section, "groups"), message


def _unread(case: Case) -> Iterator[Place]:
    read = {number for layer in case.plan.layers for number in layer.reads}
    for number, layer in enumerate(case.plan.layers[:-1]):
        if number not in read:
            yield layer.section.line, f"no layer reads this [{layer.section.type}]"


def _nothing_smoothed(case: Case) -> Iterator[Place]:
    for layer in case.plan.layers:
        if isinstance(layer.options, o.SoftmaxOptions):
            options, section = layer.options, layer.section
            if options.smoothing and options.noloss:
                message = "smoothing has no effect on a [softmax] with noloss=1"
                yield line_of(section, "smoothing"), message


def _nothing_moves(case: Case) -> Iterator[Place]:
    layers = case.plan.layers
    stops = [i for i, layer in enumerate(layers) if layer.options.stopbackward]
    if stops and not any(layer.size.trained for layer in layers[stops[-1] + 1 :]):
        message = "stopbackward leaves no layer above it to train"
        yield line_of(layers[stops[-1]].section, "stopbackward"), message


def _no_end(case: Case) -> Iterator[Place]:
    if not case.net.max_batches and case.trains:
        yield case.line(), "no max_batches: `train` needs --batches N"


def _text_too_short(case: Case) -> Iterator[Place]:
    if case.text_bytes is not None and case.text_bytes * 0.95 < case.net.time_steps + 1:
        message = (
            f"time_steps={case.net.time_steps}, but the text has only {case.text_bytes:,} bytes"
        )
        yield case.line("time_steps"), message


def _epochs(case: Case) -> Iterator[Place]:
    if not case.text_bytes or not case.net.max_batches or not case.trains or case.for_pairs:
        return
    epochs = case.net.max_batches * case.batch_rows / (case.text_bytes * 0.95)
    if not FEW_EPOCHS <= epochs <= MANY_EPOCHS:
        often = f"{epochs:,.0f} times" if epochs > 1 else f"to {100 * epochs:.2g} %"
        text = f"the text of {case.text_bytes:,} bytes"
        message = f"max_batches={case.net.max_batches} reads {text} {often}"
        yield case.line("max_batches"), message


def one_symbol(net: o.NetOptions) -> str | None:
    """A message if this [net] is for sampling and not for training."""
    if net.rows * net.subdivisions > 1:
        return None
    return (
        "batch=1 and time_steps=1 train on one symbol at a time, so no gradient reaches an "
        "earlier step"
    )


def _one_symbol(case: Case) -> Iterator[Place]:
    if case.text_bytes is not None and (message := one_symbol(case.net)):
        yield case.line("time_steps", "batch"), message


def _utf16_text(case: Case) -> Iterator[Place]:
    if case.utf16:
        yield case.line("inputs"), f"the text {UTF16}"


RULES = (
    Rule("W101", "logistic-candidate", "add tanh=1, or tanh=0 if intended",
         _logistic_candidate),
    Rule("W102", "output-of-one", "add output=N", _output_of_one),
    Rule("W103", "one-stream", "batch is streams * subdivisions: make it larger", _one_stream),
    Rule("W104", "norm-of-one-stream", "train with batch=2 or more", _norm_of_one),
    Rule("W105", "bounded-scores", "add activation=linear", _bounded_scores),
    Rule("W106", "dropped-predictions", "move it before that layer", _dropped_predictions),
    Rule("W107", "other-outputs", "set the last output to inputs, to train on a text",
         _other_outputs),
    Rule("W108", "no-cost", "end in [softmax] without noloss=1, or in [logistic] or [cost]",
         _no_cost),
    Rule("W109", "nothing-learns", "move stopbackward=1 to a lower layer", _nothing_moves),
    Rule("W110", "softmax-twice", "remove one", _softmax_twice),
    Rule("W111", "grouped-predictions", "remove it: a text has one symbol at a time",
         _grouped_predictions),
    Rule("W112", "nothing-divided", "remove it, or add batch_normalize=1", _nothing_divided),
    Rule("W113", "unread-layer", "remove it, or name it in [route] or [shortcut]", _unread),
    Rule("W114", "nothing-smoothed", "remove it, or noloss=1", _nothing_smoothed),
    Rule("W201", "adam-decay", "set decay=0 in [net]", _adam_decays),
    Rule("W202", "adam-rate", "try .005 or less", _adam_rate),
    Rule("W203", "other-optimizer", "remove it", _other_optimizer),
    Rule("W204", "no-rate", "set learning_rate in [net]", _no_rate),
    Rule("W301", "other-policy", "remove it, or change the policy", _other_policy),
    Rule("W302", "policy-without-keys", "set them in [net]", _policy_without_keys),
    Rule("W303", "steps-too-late", "change one of them", _steps_too_late),
    Rule("W304", "burn-in-too-long", "change one of them", _burn_in_too_long),
    Rule("W305", "no-max-batches", "add max_batches=N", _no_end),
    Rule("W401", "text-too-short", "use more text, or a smaller time_steps", _text_too_short),
    Rule("W402", "epochs", "change max_batches, batch or time_steps", _epochs),
    Rule("W403", "one-symbol", ONE_SYMBOL_HINT, _one_symbol),
    Rule("W404", "utf-16-text", "save it as UTF-8", _utf16_text),
)  # fmt: skip
