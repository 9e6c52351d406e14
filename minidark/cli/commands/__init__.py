"""One module for each command; `minidark.cli.COMMANDS` names them."""
