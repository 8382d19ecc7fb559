"""Trials that try hard to make the build wrong: `python -m trials.NAME --help`. Their results stand in docs/trials/."""
