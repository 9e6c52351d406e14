"""`minidark completion`: the script that lets a shell complete minidark's words."""

from __future__ import annotations

import click

from minidark.cli.output.stdout import say
from minidark.cli.shell.shells import SHELLS, VARIABLE


@click.command()
@click.argument("shell", type=click.Choice([*SHELLS]))
def completion(shell: str) -> None:
    """Print what makes a shell complete minidark's words.

    \b
    minidark completion bash > ~/.local/share/bash-completion/completions/minidark
    minidark completion zsh > ~/.zfunc/_minidark
    minidark completion fish > ~/.config/fish/completions/minidark.fish

    It completes commands, options and their values, cfgs by file and by bare name, weight files,
    and the keys of --set. For zsh the folder has to be in fpath: `fpath+=~/.zfunc` before
    `compinit` in ~/.zshrc.
    """
    program = click.get_current_context().find_root().command
    say(SHELLS[shell](program, {}, "minidark", VARIABLE).source())
