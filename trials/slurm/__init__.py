"""Build a miniature world on a real Slurm of several nodes on one host, and once more with a node killed on the way.

    python -m trials.slurm [--out docs/trials/slurm.md]

Slurm comes from Debian's packages; it is started from nothing in a temporary folder, and is gone afterwards.
"""
