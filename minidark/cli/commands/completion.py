"""`minidark completion`: prints a completion script for a shell."""

from __future__ import annotations

import click

from minidark.cli.output.stdout import say
from minidark.cli.shell.shells import SHELLS, VARIABLE


@click.command()
@click.argument("shell", type=click.Choice([*SHELLS]))
def completion(shell: str) -> None:
    """Print a script that completes minidark commands in a shell.

    \b
    minidark completion bash > ~/.local/share/bash-completion/completions/minidark
    minidark completion zsh > ~/.zfunc/_minidark
    minidark completion fish > ~/.config/fish/completions/minidark.fish

    The script completes commands, options and their values, cfgs by file and by bare name, weight
    files, and the keys of --set. In zsh, fpath must contain the folder: add `fpath+=~/.zfunc`
    before `compinit` in ~/.zshrc.
    """
    program = click.get_current_context().find_root().command
    say(SHELLS[shell](program, {}, "minidark", VARIABLE).source())
