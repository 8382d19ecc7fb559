"""Fixtures for all tests: this checkout, a copy of it, and a miniature world that is built once."""

from pathlib import Path

import pytest

from trials.worlds import ROOT, World, built_miniature, copy_checkout, copy_world


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
def built_once() -> Path:
    """A miniature world, built; never changed by a test."""
    return built_miniature()


@pytest.fixture
def miniature(built_once: Path, tmp_path: Path) -> World:
    """A built miniature world of the test's own."""
    return copy_world(built_once, tmp_path / "world")
