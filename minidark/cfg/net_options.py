"""The options of [net], with darknet's defaults.

Source: darknet src/parser.c (parse_net_options).
"""

from __future__ import annotations

from dataclasses import dataclass

from minidark.cfg.keys import (
    AT_LEAST_0,
    AT_LEAST_1,
    above_0,
    ascending,
    in_range,
    key,
    none_negative,
    one_of,
)

CPU, GPU = "cpu", "gpu"  # batch norm's divisor: darknet's CPU or GPU formula
POLICY_NAMES = ("constant", "step", "steps", "exp", "poly", "sigmoid", "random", "cosine")


@dataclass(frozen=True, slots=True)
class NetOptions:
    """The whole network: what it reads at once, and how it learns."""

    batch: int = key(
        1, AT_LEAST_1, "streams * subdivisions; streams are read side by side, each its own text"
    )
    subdivisions: int = key(
        1, AT_LEAST_1, "passes before the weights move, each the next stretch of the same streams"
    )
    time_steps: int = key(1, AT_LEAST_1, "symbols that each stream reads in a pass")
    inputs: int = key(0, AT_LEAST_0, "symbols there are: 256 for bytes; 0 is the three below")
    height: int = key(0, AT_LEAST_0, "inputs = height * width * channels, where inputs is 0")
    width: int = key(0, AT_LEAST_0, "see height")
    channels: int = key(0, AT_LEAST_0, "see height")
    learning_rate: float = key(0.001, AT_LEAST_0, "length of a step, before policy and burn_in")
    momentum: float = key(0.9, in_range(0, 1), "of SGD: what a step keeps of the one before")
    decay: float = key(
        0.0001, AT_LEAST_0, "pull of the weights towards zero, per row; with adam of all arrays"
    )
    max_batches: int = key(0, AT_LEAST_0, "batches to train, which poly and cosine end at")
    adam: bool = key(False, None, "1 is Adam, which is not divided by rows; 0 is SGD, which is")
    B1: float = key(0.9, in_range(0, 1, open_high=True), "of Adam: decay of the mean")
    B2: float = key(0.999, in_range(0, 1, open_high=True), "of Adam: decay of the mean square")
    eps: float = key(1e-7, above_0, "of Adam: added to the root of the mean square")
    policy: str = key(
        "constant",
        one_of(*POLICY_NAMES),
        f"of the rate: {', '.join(POLICY_NAMES)} (minidark's own)",
    )
    step: int = key(
        1, AT_LEAST_1, "of step: batches between two changes; of sigmoid: batch of half the rate"
    )
    scale: float = key(1.0, AT_LEAST_0, "of step: factor at each change")
    steps: tuple[int, ...] = key((), ascending, "of steps: batches at which the rate changes")
    scales: tuple[float, ...] = key((), none_negative, "of steps: factor at each of them")
    gamma: float = key(1.0, None, "of exp: factor for each batch; of sigmoid: steepness")
    power: float = key(4.0, AT_LEAST_0, "of poly and random, and of burn_in's rise: the exponent")
    burn_in: int = key(0, AT_LEAST_0, "batches over which the rate rises from zero")
    batchnorm: str | None = key(
        None,
        one_of(CPU, GPU),
        "what batch norm divides by: cpu sqrt(variance) + 1e-6, gpu sqrt(variance + 1e-5)",
        own=True,
    )
    clip_norm: float = key(
        0.0, AT_LEAST_0, "longest mean gradient; longer ones are shortened; 0: any", own=True
    )
    average: float = key(
        0.0,
        in_range(0, 1, open_high=True),
        "of the weights, over some 1 / (1 - average) updates: it is what is validated and saved",
        own=True,
    )

    @property
    def streams(self) -> int:
        return self.batch // self.subdivisions

    @property
    def rows(self) -> int:
        """Rows per pass: darknet's net->batch after parsing."""
        return self.streams * self.time_steps

    @property
    def row_inputs(self) -> int:
        return self.inputs or self.height * self.width * self.channels
