"""Stages as jobs of a real Slurm: two nodes on this host, one of them killed on the way. `trials.slurm` does more."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from belle.errors import InputError
from trials.slurm.building import build, outputs
from trials.slurm.cluster import missing, running
from trials.worlds import World, shrink

lack = missing()
here = pytest.mark.skipif(bool(lack), reason=f"a Slurm of this machine's own: {lack}")
SOON = ("--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1", "--")


def test_what_is_missing_is_named_with_its_cure(tmp_path: Path) -> None:
    """On a machine without Slurm the trial says what to install, and starts nothing."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "munged").symlink_to("/bin/true")
    code = (
        "import shutil; which = shutil.which\n"
        f"shutil.which = lambda name, path=None: which(name, path={str(tmp_path / 'bin')!r})\n"
        "from trials.slurm.__main__ import main; import sys; sys.argv = ['trials.slurm']; sys.exit(main())"
    )
    world = World(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": f"{world.folder}{os.pathsep}{world.folder / 'src'}"}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert ended.returncode == 2
    assert "not installed: slurm-wlm (apt-get install --yes slurm-wlm)" in ended.stderr
    assert "Traceback" not in ended.stderr


@here
@pytest.mark.slow
@pytest.mark.timeout(1200)  # later than the build's own limit, whose message says what stood still
def test_build_survives_the_death_of_a_node(checkout: Path, built_once: Path) -> None:
    world = World(checkout)
    shrink(world)
    with running(nodes=2) as cluster:
        daemons = [int(path.read_text()) for path in cluster.folder.glob("*.pid")]
        assert len(daemons) == 3
        done = build(cluster, world, *SOON, "models/tiny-base", kill_during="base-tiny-base", linger_s=1, timeout_s=600)
        assert [job.stage for job in done.jobs] == ["corpus-tiny", "base-tiny-base"]
        assert [(job.stage, job.restarts, job.state) for job in done.requeued] == [("base-tiny-base", 1, "COMPLETED")]
        assert done.requeued[0].node in set(cluster.nodes) - {done.killed}
        assert done.processes >= 5  # slurmd, the step, Snakemake, DVC, the stage
        expected = outputs(World(built_once))
        assert outputs(world) == {path: expected[path] for path in ("data/corpus/tiny.txt", "models/tiny-base")}

        # a job that restores an output older than its input is taken as done, on a node as at home
        shutil.rmtree(world.folder / "models" / "tiny-base")
        later = time.time() + 3600
        os.utime(world.folder / "data" / "corpus" / "tiny.txt", (later, later))
        build(cluster, world, *SOON, "models/tiny-base", timeout_s=200)
        assert world.history()[-1]["outcome"] == "restored"
    assert not any(Path(f"/proc/{pid}").exists() for pid in daemons)
    assert not cluster.folder.exists()


@here
def test_a_folder_with_too_long_a_name_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("long" * 20)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with pytest.raises(InputError, match="set TMPDIR"), running():
        pytest.fail("it was started")
    assert list(long.iterdir()) == []
