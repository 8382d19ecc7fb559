"""Subcommands of ``belle`` that are no stages: each module here is one.

A module's first docstring line is its help; ``add_arguments(parser)`` declares what it takes, ``run(args)`` does it.
Heavy imports stand inside ``run``, so that ``belle --help`` stays quick.
"""
