"""`python -m minidark` is `minidark`."""

from minidark.cli import main

main()
