"""DVC's content hashes, computed without DVC, behind a stat cache.

A file's hash is the MD5 of its bytes. A folder's is the MD5 of the JSON list of its files' ``md5`` and ``relpath``,
sorted by path, with ``.dir`` appended. Both are what dvc.lock holds (DVC 3, ``hash: md5``).
"""

import hashlib
import json
import os
import time
from pathlib import Path

from belle.files import atomic_file

IGNORED_NAMES = frozenset({".snakemake_timestamp", "__pycache__", ".DS_Store"})
"""Names that are no part of a folder's content; .dvcignore lists the same."""

_RACY_NS = 50_000_000
"""A file written this shortly ago may be written again within one tick of its clock: its hash is not cached."""


class Hashes:
    """Content hashes of files and folders; a file is read only when its stat has changed.

    The cache is keyed by path and holds (mtime, ctime, size, inode). The change time cannot be set back by a user,
    so a file edited in place with its modification time restored is still read again.
    """

    def __init__(self, cache: Path) -> None:
        self.cache_path = cache
        self.read = 0
        """Files read since the start: what the stat cache did not know."""
        self._memo: dict[str, str | None] = {}
        self._dirty = False
        try:
            self._cache: dict[str, list] = json.loads(cache.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._cache = {}

    def forget(self) -> None:
        """Drop what was seen in this process, for a look at files that may have changed since."""
        self._memo.clear()

    def get(self, path: str) -> str | None:
        """The hash of a file or folder as dvc.lock writes it; None where nothing stands."""
        if path not in self._memo:
            self._memo[path] = self._hash(path)
        return self._memo[path]

    def _hash(self, path: str) -> str | None:
        try:
            if os.path.isdir(path):
                return self._folder(path)
            return self._file(path, os.stat(path))
        except FileNotFoundError:
            return None

    def _folder(self, path: str) -> str:
        entries = []
        pending = [path]
        while pending:
            with os.scandir(pending.pop()) as found:
                for entry in found:
                    if entry.name in IGNORED_NAMES:
                        continue
                    if entry.is_dir():
                        pending.append(entry.path)
                    else:
                        relative = os.path.relpath(entry.path, path).replace(os.sep, "/")
                        # DirEntry.stat would follow a link on one system and not on another
                        entries.append({"md5": self._file(entry.path, os.stat(entry.path)), "relpath": relative})
        entries.sort(key=lambda item: item["relpath"])
        return hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"

    def _file(self, path: str, stat: os.stat_result) -> str:
        token = [stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino]
        known = self._cache.get(path)
        if known and known[0] == token:
            return known[1]
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        self.read += 1
        if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > _RACY_NS:
            self._cache[path] = [token, digest]
            self._dirty = True
        return digest

    def save(self) -> None:
        """Write the stat cache, if it learned anything; a folder that cannot be written is no reason to fail."""
        if not self._dirty:
            return
        try:
            with atomic_file(self.cache_path) as file:
                json.dump(self._cache, file)
        except OSError:
            return
        self._dirty = False
