"""The command line: a module or package for each command. The work itself is done elsewhere."""
