"""The environment that a stage sees: what is declared here, what is pinned here, and nothing else.

A variable that nobody declared cannot change a result, because no stage sees it. What a stage may see must not matter
to its result: what matters is pinned, here or (thread counts, instruction sets) from params.yaml by the stage itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

ASKING = frozenset({"generate", "ask", "label", "judge", "prefer"})
FETCHING = frozenset({"fetch_dataset", "fetch_model"})
COMPUTING = frozenset({"base", "pretrain", "sft", "gptq", "answer", "weigh", "sample", "reward", "dpo", "ppo"})

EXECUTED_MARK = "BELLE_EXECUTED_MARK"
"""Variable: a file that the stage's command creates, so that a run can be told from a restored cache."""
REASON = "BELLE_REASON"
"""Variable: why the stage runs, for the history."""
BUILD_PID = "BELLE_BUILD_PID"
"""``host:pid`` of the Snakemake process that a stage ends with; it also names the build."""
TRACE = "BELLE_TRACE"
"""Environment variable: the folder of the recorders of ``belle verify``, loaded into every process of a stage."""
ENTERED = "BELLE_ENTERED"
"""Environment variable: the process that has taken on its stage's environment."""
USERS_HOME = "BELLE_HOME"
"""Environment variable: the user's home, for DVC; a stage's own is ``.belle/home``, where nobody keeps settings."""


@dataclass(frozen=True)
class Variable:
    """Variables that a stage may see.

    Args:
        names: Names, or shell patterns of names, separated by spaces.
        reason: Why it is seen though it is no input.
        stages: The stage commands that see it; empty for all.
    """

    names: str
    reason: str
    stages: frozenset[str] = frozenset()

    def covers(self, name: str, command: str) -> bool:
        """Whether the stage ``command`` sees ``name`` by this declaration."""
        return (not self.stages or command in self.stages) and any(
            fnmatchcase(name, pattern) for pattern in self.names.split()
        )


VISIBLE = (
    Variable("PATH", "where `belle` and a compiler are found"),
    Variable("USER LOGNAME TMPDIR", "libraries ask for them before they write anything"),
    Variable("PWD OLDPWD SHLVL _", "a shell sets them for whatever it starts"),
    Variable("TERM", "how progress is shown"),
    Variable("LD_LIBRARY_PATH", "where a cluster keeps Python's library and the GPU's driver"),
    Variable("PYTHONUNBUFFERED PYTHONDONTWRITEBYTECODE", "when output is shown; whether compiled modules are kept"),
    Variable("FAKETIME FAKETIME_*", "another clock, in trials: no result may depend on the time"),
    Variable("DVC_ROOT DVC_STAGE", "DVC says by them which stage this is"),
    Variable("BELLE_*", "the build's own bookkeeping"),
    Variable("CUDA_VISIBLE_DEVICES CUDA_DEVICE_ORDER HIP_VISIBLE_DEVICES ROCR_VISIBLE_DEVICES NVIDIA_VISIBLE_DEVICES "
             "NVIDIA_DRIVER_CAPABILITIES", "which GPUs a cluster has given", COMPUTING),
    Variable("LOCAL_RANK WORLD_SIZE", "a process's place among those that train together, by whoever started them",
             COMPUTING),
    Variable("CUDA_HOME CUDA_PATH", "the compiler of GPU kernels", COMPUTING),
    Variable("HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy all_proxy no_proxy "
             "SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE", "how to get out of this network",
             ASKING | FETCHING),
    Variable("OPENAI_API_KEY", "the key of the paid API, kept nowhere", ASKING),
    Variable("HF_HOME HF_HUB_CACHE HF_DATASETS_CACHE HF_ENDPOINT HF_HUB_OFFLINE HF_TOKEN HF_TOKEN_PATH "
             "HUGGING_FACE_HUB_TOKEN XDG_CACHE_HOME", "the hub: what is fetched is named by its revision", FETCHING),
)  # fmt: skip
"""What a stage may see of the environment of whoever starts a build."""

DVC_OWN = Variable(
    "DVC_* AWS_* AZURE_* GOOGLE_* OSS_* SSH_* GIT_* KRB5* XDG_* HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY http_proxy "
    "https_proxy all_proxy no_proxy SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE",
    "DVC's way to its remotes; taken away again before the stage does anything",
)

PINNED = {
    "PYTHONHASHSEED": "0",  # the order of sets of texts
    "PYTHONSAFEPATH": "1",  # no module from the folder that a process happens to stand in
    "PYTHONNOUSERSITE": "1",  # no packages from the user's home, which no lock file knows
    "PYTHONUTF8": "1",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "OPENBLAS_CORETYPE": "Haswell",  # numpy's products, whoever made the processor; for torch: belle.stages
}
"""What every stage sees, whatever the environment says."""


def declared(name: str, command: str) -> bool:
    """Whether a stage's environment may hold ``name``: seen or pinned."""
    pinned = name in PINNED or name in {"HOME", "LD_PRELOAD", "PYTHONPATH"}
    return pinned or any(variable.covers(name, command) for variable in VISIBLE)


def hermetic(
    environment: Mapping[str, str], command: str, root: Path, extra: Iterable[Variable] = ()
) -> dict[str, str]:
    """What the stage ``command`` of the checkout ``root`` sees of ``environment``, with what is pinned.

    Args:
        extra: Declarations for a process between, such as DVC.
    """
    kept = {
        name: value
        for name, value in environment.items()
        if any(variable.covers(name, command) for variable in (*VISIBLE, *extra))
    }
    kept.update(PINNED)
    home = environment.get(USERS_HOME) or environment.get("HOME", "")
    theirs = bool(extra) or command in FETCHING  # DVC has settings there, and what was fetched is kept there
    kept |= {USERS_HOME: home, "HOME": home if theirs else str(root.absolute() / ".belle" / "home")}
    paths = environment.get("PYTHONPATH", "").split(os.pathsep)
    preloaded = [item for item in environment.get("LD_PRELOAD", "").split(":") if "libfaketime" in item]
    if (root / "src" / "belle").is_dir():  # the code that was fingerprinted is the code that runs
        paths = [str(root.absolute() / "src")]
    if trace := environment.get(TRACE):
        paths = [trace, *(path for path in paths if path != trace)]
        preloaded += [str(library) for library in (Path(trace) / "getenv.so",) if library.exists()]
    if any(paths):
        kept["PYTHONPATH"] = os.pathsep.join(paths)
    if preloaded:
        kept["LD_PRELOAD"] = ":".join(preloaded)
    return kept


def for_dvc(environment: Mapping[str, str], command: str, root: Path = Path()) -> dict[str, str]:
    """What DVC sees when it is started for one stage: what the stage sees, and DVC's own."""
    return hermetic(environment, command, root, extra=(DVC_OWN,))


def for_users_tools(environment: Mapping[str, str]) -> dict[str, str]:
    """For a program of the user's that a stage starts: with the user's home."""
    return {**environment, "HOME": environment.get(USERS_HOME) or environment.get("HOME", "")}


def enter(command: str, root: Path) -> None:
    """Take on the environment of the stage ``command``.

    A build has given it already, but for DVC's own variables, which are taken out of this process. A bare ``dvc repro``
    has not, and what acts when a process starts (``LD_PRELOAD``, ``PYTHONHASHSEED``) cannot be taken back: this process
    then starts itself again, with the same id (where it was not started for this, it takes on what it still can).
    """
    wanted = hermetic(os.environ, command, root)
    gone = [name for name in os.environ if name not in wanted]
    late = all(DVC_OWN.covers(name, command) for name in gone) and all(
        os.environ.get(name) == value for name, value in wanted.items() if name not in {"HOME", USERS_HOME}
    )
    words = sys.orig_argv[1:]
    ours = words[:2] == ["-m", "belle.cli"] or (bool(words) and Path(words[0]).name == "belle")
    if ours and not late and os.environ.get(ENTERED) != str(os.getpid()):
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(sys.executable, [sys.executable, *words], {**wanted, ENTERED: str(os.getpid())})  # noqa: S606
    for name in gone:
        del os.environ[name]
    os.environ.update(wanted)
