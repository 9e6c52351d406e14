"""The output of the command line, to streams and files."""
