"""Fixtures for all tests: this checkout, a copy of it, and a miniature world that is built once."""

import shutil
from pathlib import Path

import pytest
from worlds import ROOT, World, copy_checkout, shrink


@pytest.fixture
def project() -> Path:
    """The folder of this checkout."""
    return ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A fresh copy of this checkout, nothing built."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    return copy_checkout(folder)


@pytest.fixture(scope="session")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature world, built; never changed by a test."""
    world = World(copy_checkout(tmp_path_factory.mktemp("miniature") / "world"))
    shrink(world)
    world.run("dvc", "remote", "add", "-f", "-d", "local", str(world.folder.parent / "remote"))
    world.run("snakemake")
    world.run("dvc", "push", "-q", "--run-cache")
    world.run("git", "add", "-A")
    world.run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "built")
    return world.folder


@pytest.fixture
def miniature(built_once: Path, tmp_path: Path) -> World:
    """A built miniature world of the test's own."""
    shutil.copytree(built_once, tmp_path / "world", symlinks=True)
    return World(tmp_path / "world")
