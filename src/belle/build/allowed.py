"""What every stage may touch without declaring it, and why no result depends on it."""

BOOKKEEPING = (
    ".belle", ".belle/hashes.json", ".belle/history.jsonl", ".belle/code-cache.json", ".belle/home*",
    ".belle/parsed*", ".belle/tensorboard*", ".belle/runs*",
    ".belle/torch-extensions*", "logs*", ".dvc/tmp", ".dvc/tmp/lock",
)  # fmt: skip
"""What the build itself keeps: nothing in it is part of a result, and every checkout has its own."""

LOOKING_ON = ("belle.train.tracking",)
"""Modules that the command line brings into a training to look on: see ``belle.train.watching``."""

PIPELINE = ("params.yaml", "dvc.yaml", "dvc.lock", "ondemand/dvc.yaml", "ondemand/dvc.lock")
"""What ``belle.cli.as_stage`` checks before a stage; the values that a stage reads come with its command."""

LOOKED_FOR = {
    "_ops.py": "torch gives its modules a __file__ of this name, and inspect looks for it",
    "_classes.py": "torch gives its modules a __file__ of this name, and inspect looks for it",
    "pybuilddir.txt": "an interpreter started elsewhere looks whether it stands where it was compiled",
    "-l*": "gcc, which ctypes.util.find_library asks for the path of a library",
    "lib*.so*": "gcc, which ctypes.util.find_library asks for the path of a library",
}
"""Names that libraries look for in the folder that they run in, and that change no result."""

SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/proc", "/sys", "/dev")
"""The machine: its system's libraries and programs, and what the kernel says. What of it matters is pinned."""

ETC = (
    "ld.so.*", "locale.alias", "localtime", "timezone", "passwd", "group", "nsswitch.conf", "hosts", "host.conf",
    "resolv.conf", "gai.conf", "services", "protocols", "ssl", "ssl/*", "pki/*", "ca-certificates*", "mime.types",
    "*/mime.types", "os-release", "lsb-release", "debian_version", "alternatives/*",
)  # fmt: skip
"""Files of the system's settings that every program reads; none says how to compute."""

UNIX_SOCKETS = ("/var/run/nscd/socket", "/run/nscd/socket")
"""The name service's cache, which the C library asks for users and hosts."""
