"""Plant faults in a cache and in remotes (local, ssh, S3), and count those that `belle cache` finds, names and heals.

    python -m trials.corruption --faults 60 --out docs/trials/corruption.md

The ssh server is a real sshd on a high port with keys of its own; S3's protocol is spoken by moto's server. Both are
started by the trial and end with it. Every fault is planted alone in a place that was right before, and healed.
"""
