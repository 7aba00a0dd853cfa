"""The command line: the group of all commands, in the order of the pipeline."""

from __future__ import annotations

import logging

import click

import slidepipe
from slidepipe.commands import array_commands as arrays
from slidepipe.commands import inspection_commands as inspection
from slidepipe.commands import patch_commands as patches
from slidepipe.commands import result_commands as results
from slidepipe.commands import study_commands as study


class _InPipelineOrder(click.Group):
    """Lists commands as they are defined, not by the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=_InPipelineOrder, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(slidepipe.__version__, prog_name="slidepipe")
@click.option("-v", "--verbose", is_flag=True, help="Log what the rooms do.")
def main(verbose: bool) -> None:
    """Gigapixel slides to tile stores, tumour heatmaps, slide predictions and a lesion FROC."""
    # Only our own logger: the root logger would let the cluster's chatter through.
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("slidepipe")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if verbose else logging.WARNING)


for _command in (
    study.demo,
    study.run,
    study.begin,
    study.tile,
    study.train,
    study.heatmap,
    study.mine,
    study.predict,
    patches.classify,
    results.evaluate,
    results.export,
    results.report,
    results.compare,
    inspection.view,
    inspection.check_phi,
    inspection.status,
    inspection.verify,
    inspection.doctor,
    arrays.tile_begin,
    arrays.tile_block,
    arrays.tile_finish,
    arrays.heatmap_begin,
    arrays.heatmap_block,
    arrays.heatmap_finish,
):
    main.add_command(_command)
