"""Which blocks of a store are done.

A block's data is written first, its ledger entry afterwards, both by rename. A process that is killed in
between leaves data without an entry: the block is done again and the same bytes are written. Every entry
carries the token of the work it belongs to, a fingerprint of whatever determines the output, so that work
with other settings never believes an older ledger. The case against "the file exists, so it is done": a file
that was half copied exists too.

Neither data nor entries wait for the disk. A power cut may leave an entry whose data are missing or half, so whoever
takes up unfinished work proves the data of every entry first; `slidepipe.storage.shards.check_shard` does.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from slidepipe.storage.publish import read_json, remove_tree, write_bytes
from slidepipe.storage.together import map_places

_log = logging.getLogger(__name__)


class BlockLedger:
    """One small file per finished block, in a folder of its own.

    Parameters
    ----------
    folder
        Where the entries lie; made with the first of them.
    token
        Fingerprint of the work. Entries of another token count as not done.
    """

    def __init__(self, folder: Path, token: str) -> None:
        self._folder = folder
        self._token = token

    def record(self, block: int, report: dict[str, Any]) -> None:
        """Note that a block is done. Call it after the block's data has been published.

        Parameters
        ----------
        block
            Index of the block.
        report
            What JSON can hold; `done` gives it back.
        """
        entry = {"token": self._token, "block": block, "report": report}
        write_bytes(self._folder / f"{block}.json", json.dumps(entry).encode(), durable=False)

    def done(self) -> dict[int, dict[str, Any]]:
        """Return what has been done under this token.

        Returns
        -------
        dict
            Index of each finished block, ascending, to its report. An entry that cannot be read, or that
            belongs to another token, counts as not done.
        """
        entries = map_places(self._read, self._folder.glob("[0-9]*.json"), self._folder)
        return dict(sorted(entry for entry in entries if entry is not None))

    def _read(self, path: Path) -> tuple[int, dict[str, Any]] | None:
        try:
            entry = read_json(path)
            return (int(entry["block"]), dict(entry["report"])) if entry["token"] == self._token else None
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("ledger entry %s cannot be read, so the block is done again: %s", path, error)
            return None

    def clear(self) -> None:
        """Remove the ledger. Removing none is harmless."""
        remove_tree(self._folder)
