"""The mutation matrix: change one thing, build, and compare with a build from nothing.

``python -m trials.mutations`` runs all of it; ``--seconds 300`` as many as fit, drawn at random (CI does that).

For each change the miniature world is built twice: by ``snakemake`` in a copy of the built world, and from nothing in
an empty folder (``trials.mutations.truth``). **Missed** is a stage that had to run and did not, or a file whose bytes
are not those of the build from nothing. **Needless** is a stage that ran without need. A stage has need when what was
changed is its own (a setting it reads, code that it was seen to execute, its rule, a file it reads), or when a file
that it reads comes out of the build from nothing otherwise than before.
"""
