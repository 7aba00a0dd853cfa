"""What is written about the house is true: the map, the commands, the configurations, the manners."""

from __future__ import annotations

import ast
import json
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from slidepipe.config import load_config

_ROOT = Path(__file__).resolve().parents[1]
_PACKAGE = _ROOT / "slidepipe"
_MODULES = sorted(path for path in _PACKAGE.rglob("*.py") if path.name not in {"__init__.py", "__main__.py"})
_LONGEST_MODULE = 400
_HELP_CPU_S = 0.7
_DRAWERS = {"utils", "core", "common", "helpers", "tools", "misc"}
_HEAVY = [
    "dask",
    "distributed",
    "matplotlib",
    "numpy",
    "openslide",
    "pydantic",
    "scipy",
    "sklearn",
    "torch",
    "zarr",
]


def _readme() -> str:
    return (_ROOT / "README.md").read_text(encoding="utf-8")


def _map_lines() -> list[str]:
    match = re.search(r"^## The map\n.*?^```\w*\n(.*?)^```", _readme(), re.MULTILINE | re.DOTALL)
    assert match, "README.md has no fenced block under the heading '## The map'"
    return match[1].splitlines()


def _modules_of(line: str) -> Iterator[str]:
    """Give the modules that a line of the map is about: its words before the description."""
    for word in line.split():
        if not word.endswith(".py"):
            return
        yield word


def test_the_map_lists_exactly_the_modules_that_exist() -> None:
    listed = [module for line in _map_lines() for module in _modules_of(line)]
    assert sorted(listed) == sorted(path.relative_to(_PACKAGE).as_posix() for path in _MODULES)


def test_every_module_on_the_map_has_a_few_words() -> None:
    bare = [
        line
        for line in _map_lines()
        if (modules := [*_modules_of(line)]) and len(line.split()) < len(modules) + 2
    ]
    assert bare == []


def test_no_module_is_longer_than_it_can_be_read() -> None:
    lengths = {
        path.relative_to(_PACKAGE).as_posix(): len(path.read_text("utf-8").splitlines()) for path in _MODULES
    }
    assert {name: length for name, length in lengths.items() if length > _LONGEST_MODULE} == {}


def test_no_module_is_a_drawer() -> None:
    names = {
        part for path in _PACKAGE.rglob("*.py") for part in path.relative_to(_PACKAGE).with_suffix("").parts
    }
    assert names & _DRAWERS == set()


def test_a_room_says_what_it_is_and_imports_nothing() -> None:
    for path in _PACKAGE.glob("*/__init__.py"):
        tree = ast.parse(path.read_text("utf-8"))
        assert ast.get_docstring(tree), f"{path.parent.name} has no docstring"
        assert len(tree.body) == 1, f"{path.parent.name}/__init__.py holds more than a docstring"


def _commands() -> dict[str, click.Command]:
    from slidepipe.cli import main

    assert isinstance(main, click.Group)
    return dict(main.commands)


def test_every_command_has_help_and_is_in_the_readme() -> None:
    readme = _readme()
    for name, command in _commands().items():
        assert command.help, f"{name} has no help"
        assert f"slidepipe {name}" in readme, f"{name} is not in README.md"


def test_every_option_has_help() -> None:
    for name, command in _commands().items():
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, f"{name} {option.opts[-1]} has no help"


@pytest.mark.parametrize("path", sorted((_ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_every_configuration_loads(path: Path) -> None:
    assert load_config(path).name


def test_the_readme_has_one_test_line_and_ci_runs_it() -> None:
    pattern = re.search(r"grep -xE '(.*)' README\.md", (_ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    assert pattern, ".ci/run does not look for the test line"
    lines = [line for line in _readme().splitlines() if re.fullmatch(pattern[1], line)]
    assert len(lines) == 1
    assert lines[0].split(" && ")[-1] == ".venv/bin/python -m pytest"


_STATE = """
import json, logging, os, signal, sys, threading, warnings

def state():
    return {
        "handlers": [repr(handler) for handler in logging.root.handlers],
        "level": logging.root.level,
        "environment": dict(os.environ),
        "filters": [repr(entry) for entry in warnings.filters],
        "threads": threading.active_count(),
        "signals": [repr(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)],
        "folder": os.getcwd(),
    }

before = state()
import MODULE
print(json.dumps([before, state(), sorted(sys.modules)]))
"""


@pytest.mark.parametrize("module", ["slidepipe", "slidepipe.cli"])
def test_importing_slidepipe_does_nothing(module: str) -> None:
    program = [sys.executable, "-c", _STATE.replace("MODULE", module)]
    found = subprocess.run(program, cwd=_ROOT, capture_output=True, text=True, check=True)
    assert found.stderr == ""
    before, after, loaded = json.loads(found.stdout)
    assert after == before
    assert [name for name in _HEAVY if name in loaded] == []


def test_help_answers_at_once() -> None:
    program = [sys.executable, "-c", "from slidepipe.cli import main; main(['--help'])"]
    assert min(_cpu_seconds(program) for _ in range(3)) < _HELP_CPU_S


def _cpu_seconds(program: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(program, cwd=_ROOT, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_no_file_names_a_machine() -> None:
    if shutil.which("git") is None or not (_ROOT / ".git").exists():
        pytest.skip("not a git checkout: which files are the project's is not known")
    folders = "/(" + "|".join(["work", "tmp", "root", "farm"]) + ")/"
    search = ["git", "grep", "--untracked", "-nIE", folders, "--", ".", ":!*.lock"]
    assert subprocess.run(search, cwd=_ROOT, capture_output=True, text=True, check=False).stdout == ""
