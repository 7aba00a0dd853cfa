"""Blocks that are done are known to be done, and nothing else is."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from slidepipe.storage.ledger import BlockLedger


def test_recorded_blocks_come_back_in_order(tmp_path: Path) -> None:
    ledger = BlockLedger(tmp_path / "work", "token")
    assert ledger.done() == {}
    ledger.record(12, {"n": 3})
    ledger.record(2, {"n": 1})
    ledger.record(12, {"n": 4})
    assert list(BlockLedger(tmp_path / "work", "token").done().items()) == [(2, {"n": 1}), (12, {"n": 4})]


def test_blocks_of_another_token_are_not_done(tmp_path: Path) -> None:
    BlockLedger(tmp_path, "old").record(1, {})
    BlockLedger(tmp_path, "new").record(2, {})
    assert list(BlockLedger(tmp_path, "new").done()) == [2]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"token": "t", "block": 1}'])
def test_a_damaged_entry_is_not_done_and_said(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "1.json").write_text(content)
    with caplog.at_level(logging.WARNING):
        assert BlockLedger(tmp_path, "t").done() == {}
    assert "1.json cannot be read" in caplog.text


def test_temporary_files_of_a_killed_process_are_no_entries(tmp_path: Path) -> None:
    (tmp_path / ".1.json.0a1b.tmp").write_text('{"token": "t", "block": 1, "report": {}}')
    assert BlockLedger(tmp_path, "t").done() == {}


def test_a_cleared_ledger_is_gone(tmp_path: Path) -> None:
    ledger = BlockLedger(tmp_path / "work", "t")
    ledger.record(1, {})
    ledger.clear()
    ledger.clear()
    assert not (tmp_path / "work").exists()
    assert ledger.done() == {}
