"""The workers of each stage: one cluster after the other.

Each is started when first needed, kept while the next stage needs the same, and closed before others are started. Two
kinds of workers at one scheduler would have to be told apart by resources, which Dask does not schedule well, and those
that the stage at hand cannot use would wait at a price. As stages run one after the other, each has its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape

from slidepipe.cluster_settings import ClusterSettings
from slidepipe.runs.cluster import ClusterPlace, open_executor
from slidepipe.runs.dask_executor import DaskExecutor
from slidepipe.runs.executor import Executor
from slidepipe.runs.folder import RunFolder
from slidepipe.runs.journal import Outcome, attempt


class StageWorkers:
    """Opens an executor for each stage, and closes the last one at the end of the context.

    Parameters
    ----------
    settings
        Those of the study.
    folder
        Run directory.
    console
        Where the address of the dashboard is told.
    performance_report
        HTML page of what the workers did; if there are several clusters, one for each, with the stage in its name.
        None writes none.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        folder: RunFolder,
        console: Console,
        performance_report: Path | None = None,
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._console = console
        self._report = performance_report
        self._reports = 0
        self._stack = ExitStack()
        self._open: tuple[ClusterSettings, Executor] | None = None

    def __enter__(self) -> StageWorkers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def of(self, stage: str) -> Executor:
        """Open the executor of a stage.

        Parameters
        ----------
        stage
            Name of its command.

        Returns
        -------
        Executor
            Of use until another stage asks for other workers.

        Raises
        ------
        RunError
            If the cluster cannot be reached.
        """
        wanted = self._settings.of_stage(stage)
        same = replace(wanted, task_timeout_s=None)
        if self._open is None or self._open[0] != same:
            self._stack.close()
            place = ClusterPlace(self._folder.logs, self._next_report(stage), self._tell)
            self._open = same, self._stack.enter_context(open_executor(wanted, place))
        executor = self._open[1]
        executor.task_timeout_s = wanted.task_timeout_s
        return executor

    def call(
        self,
        stage: str,
        hear: Callable[[Mapping[str, Any]], None],
        function: Callable[..., Any],
        *arguments: Any,
    ) -> Outcome:
        """Call a function on a worker of a stage and wait for it.

        Parameters
        ----------
        stage
            Name of its command.
        hear
            Called here with what the function passes to `slidepipe.runs.dask_executor.tell_client`.
        function
            What to call.
        *arguments
            With what.

        Returns
        -------
        Outcome
            What became of it.

        Raises
        ------
        RunError
            If the cluster cannot be reached, or is lost.
        """
        executor = self.of(stage)
        if isinstance(executor, DaskExecutor):
            return executor.call(hear, function, *arguments)
        return attempt(function, *arguments)

    def has_own(self, stage: str) -> bool:
        """Tell whether the settings name a stage.

        Parameters
        ----------
        stage
            Name of its command.

        Returns
        -------
        bool
            True if there are workers elsewhere that are meant for it.
        """
        return stage in self._settings.stages and self._settings.kind != "serial"

    def _next_report(self, stage: str) -> Path | None:
        if self._report is None:
            return None
        self._reports += 1
        if self._reports == 1:
            return self._report
        return self._report.with_name(f"{self._report.stem}-{stage}{self._report.suffix}")

    def _tell(self, line: str) -> None:
        self._console.print(escape(line), soft_wrap=True)
