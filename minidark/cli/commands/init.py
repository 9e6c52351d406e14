"""`minidark init`."""

from __future__ import annotations

from pathlib import Path

import click

from minidark.cfg.presets import PRESETS
from minidark.cfg.reference import commented
from minidark.cli.output.stdout import say
from minidark.files.disk import write_atomically

LISTED = "\n".join(f"{name:13}{preset.says}" for name, preset in PRESETS.items())


@click.command(epilog=f"\b\nPresets:\n{LISTED}", context_settings={"allow_extra_args": True})
@click.option("--preset", type=click.Choice([*PRESETS]), default="small", show_default=True,
              help="Network to write; see below.")  # fmt: skip
@click.option(
    "-o", "--output", metavar="FILE", help="Write to this file instead of standard output."
)
@click.option("--force", is_flag=True, help="Overwrite an existing FILE.")
@click.pass_context
def init(ctx: click.Context, preset: str, output: str | None, force: bool) -> None:
    """Write a cfg to start from, with a comment on every key.

    \b
    minidark init > my.cfg
    minidark init --preset lstm -o lstm.cfg
    minidark init --preset tiny -o tiny.cfg --force

    Optional keys are commented out with `#` and show their defaults. Remove the `#` to change one.
    """
    if ctx.args:
        raise click.UsageError(f"init takes no argument; use `minidark init -o {ctx.args[0]}`")
    chosen = PRESETS[preset]
    heading = [
        f"{chosen.says[0].upper()}{chosen.says[1:]}.",
        "`minidark train THIS.cfg TEXT` trains it.",
        "Optional keys are commented out with `#`, at their defaults; [brackets] show the defaults "
        "of the other keys.",
    ]
    text = commented(chosen.text, heading)
    if output is None:
        say(text, end="")
        return
    if Path(output).exists() and not force:
        raise click.UsageError(f"{output} already exists; --force overwrites it")
    write_atomically(output, [text.encode()])
