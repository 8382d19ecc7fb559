"""Kill builds at random and build again: the same bytes, nothing answered twice, no unlock.

``python -m trials.kills --kills 100 --out docs/trials/kills.md``; with ``--work DIR`` a run that was cut off goes on.

Each kill has a miniature world of its own in which one stage (or, for some, everything) is not built yet. A plain
``snakemake`` is started; when the chosen process has appeared, one signal hits it after a random part of its usual
life; in stages that ask an API every other one while requests are under way. Then ``snakemake`` runs again, in half
of the cases without waiting for what the first one left, and everything in the world is compared with the undisturbed
build. Requests go through ``trials.kills.toll``.
"""
