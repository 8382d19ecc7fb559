"""Our hashes are DVC's hashes, and no stat trick hides a change."""

import os
import time

import pytest
from dvc.fs import localfs
from dvc_data.hashfile.build import build
from dvc_data.hashfile.db.local import LocalHashFileDB

from belle.build.hashes import Hashes


def dvc_hash(tmp_path, path) -> str:
    database = LocalHashFileDB(localfs, str(tmp_path / "odb"))
    return build(database, str(path), localfs, "md5", dry_run=True)[2].hash_info.value


@pytest.fixture
def hashes(tmp_path):
    return Hashes(tmp_path / "cache.json")


def test_a_file(tmp_path, hashes):
    path = tmp_path / "a.txt"
    path.write_bytes(b"x\r\ny\n")
    assert hashes.get(str(path)) == dvc_hash(tmp_path, path)


def test_a_folder_with_odd_names(tmp_path, hashes):
    folder = tmp_path / "folder"
    for name in ("b", "a/b", "a.b/c", "a-b", "中文/文", "A", "a/b2/c"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / ".snakemake_timestamp").touch()
    expected = dvc_hash(tmp_path, folder)
    (folder / ".snakemake_timestamp").unlink()
    assert dvc_hash(tmp_path, folder) != expected  # the plain builder counts it; .dvcignore takes it away
    assert hashes.get(str(folder)) == dvc_hash(tmp_path, folder)


def test_what_is_not_there(hashes, tmp_path):
    assert hashes.get(str(tmp_path / "none")) is None


def test_a_second_look_reads_nothing_and_a_touch_reads_once(tmp_path):
    path = tmp_path / "a"
    path.write_text("1")
    old = time.time() - 100
    os.utime(path, (old, old))
    time.sleep(0.1)
    first = Hashes(tmp_path / "cache.json")
    digest = first.get(str(path))
    first.save()
    second = Hashes(tmp_path / "cache.json")
    assert (second.get(str(path)), second.read) == (digest, 0)
    os.utime(path)
    third = Hashes(tmp_path / "cache.json")
    assert (third.get(str(path)), third.read) == (digest, 1)


def test_an_edit_with_its_time_and_size_put_back_is_seen(tmp_path):
    path = tmp_path / "a"
    path.write_text("one")
    stat = os.stat(path)
    time.sleep(0.1)
    first = Hashes(tmp_path / "cache.json")
    digest = first.get(str(path))
    first.save()
    with open(path, "r+") as file:
        file.write("two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert Hashes(tmp_path / "cache.json").get(str(path)) != digest


def test_a_broken_cache_costs_only_time(tmp_path):
    (tmp_path / "cache.json").write_text("{broken")
    path = tmp_path / "a"
    path.write_text("1")
    assert Hashes(tmp_path / "cache.json").get(str(path)) == "c4ca4238a0b923820dcc509a6f75849b"
