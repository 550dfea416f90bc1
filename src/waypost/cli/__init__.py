"""The `waypost` command: `main` reads the command line, every other module is one command.

A command's module has `add_parser(subparsers)`, which adds its arguments, and `run(args)`, which
does it and returns the exit status; `args.config` is the path of the configuration. Only the module
of the command that was asked for is imported.
"""
