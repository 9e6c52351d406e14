"""Completion scripts for shells.

They are click's with three changes: bash completes values after a `=`, no blank follows a folder or
`gru.output=`, and blanks in file names are escaped.
"""

from __future__ import annotations

import os
import re

from click import shell_completion
from click.shell_completion import CompletionItem

VARIABLE = "_MINIDARK_COMPLETE"

BASH = """\
%(complete_func)s() {
    local response value
    response=$(COMP_LINE="${COMP_LINE:0:COMP_POINT}" %(complete_var)s=bash_complete "$1")
    COMPREPLY=()
    while IFS= read -r value; do
        [[ -n $value ]] && COMPREPLY+=("$value")
    done <<< "$response"
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[/=] ]]; then
        compopt -o nospace
    fi
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class Bash(shell_completion.BashComplete):
    source_template = BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        """The complete words and the incomplete one. They come from the line, because bash splits
        `gru.output=9` into three words."""
        line = os.environ["COMP_LINE"]
        _, *words = shell_completion.split_arg_string(line)
        return (words, "") if line[-1:].isspace() else (words[:-1], words[-1] if words else "")

    def format_completion(self, item: CompletionItem) -> str:
        return re.sub(r"""([\s\\"'`$&;()<>|*?\[\]!{}])""", r"\\\1", item.value)


class Zsh(shell_completion.ZshComplete):
    source_template = shell_completion.ZshComplete.source_template.replace(
        "compadd -U -V unsorted -a completions",
        "local -a open=(${(M)completions:#*[/=]}) whole=(${completions:#*[/=]})\n"
        "        compadd -U -S '' -V unsorted -a open\n"
        "        compadd -U -V unsorted -a whole",
    )


class Fish(shell_completion.FishComplete):
    # A word and its help may contain commas; the first comma ends the kind.
    source_template = shell_completion.FishComplete.source_template.replace(
        'string split ","', 'string split -m 1 ","'
    )


SHELLS = {"bash": Bash, "zsh": Zsh, "fish": Fish}

for name, kind in SHELLS.items():
    shell_completion.add_completion_class(kind, name)
