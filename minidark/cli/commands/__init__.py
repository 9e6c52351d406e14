"""One module for each command, as listed in `minidark.cli.COMMANDS`."""
