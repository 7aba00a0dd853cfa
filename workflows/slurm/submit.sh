#!/usr/bin/env bash
# A whole study as SLURM jobs that wait for each other, two of them arrays; nothing runs on this node.
#
#     workflows/slurm/submit.sh configs/camelyon16.yaml /scratch/me/study
#
# What sites differ in comes from the environment:
#     SLIDEPIPE          the command, with its arguments if any  [slidepipe]
#     TILE_TASKS         most tasks of the array that cuts tiles  [64]
#     HEATMAP_TASKS      most tasks of the array that makes heatmaps  [16]
#     JOB_OPTIONS        options for all jobs, instead of what the .sbatch files say  [none]
#     GPU_OPTIONS        options for jobs that can use a GPU, such as "--partition=gpu --gres=gpu:1"  [none]
#     SBATCH_ACCOUNT, SBATCH_PARTITION, SBATCH_TIMELIMIT ...  are read by sbatch itself
# The environment of this shell goes with the jobs, so activate yours first.
#
# Run it again to go on after a failure, or with a changed configuration: what is done is kept, and jobs of an earlier
# call that still wait or run come first. Each job follows when the one before has ended, well or badly, so a bad slide
# does not stop the study; the last job prints `slidepipe status` and fails if anything did.
set -euo pipefail

if [ $# != 2 ]; then
    echo "usage: $0 CONFIG RUN_DIRECTORY" >&2
    exit 2
fi
CONFIG=$(realpath "$1")
RUN=$(realpath -m "$2")
export CONFIG RUN
export SLIDEPIPE=${SLIDEPIPE:-slidepipe} TILE_TASKS=${TILE_TASKS:-64} HEATMAP_TASKS=${HEATMAP_TASKS:-16}
read -ra options <<<"${JOB_OPTIONS:-}"
read -ra gpu <<<"${GPU_OPTIONS:-}"
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
logs=$RUN.logs
mkdir -p "$logs"

job=$(cat "$logs/last-job" 2>/dev/null || true)
if [ -z "$(squeue --noheader --jobs="${job:-0}" 2>/dev/null)" ]; then
    job=
fi
submit() {
    job=$(sbatch --parsable --output="$logs/%x-%A.log" ${job:+--dependency=afterany:$job} "${options[@]}" "$@")
    job=${job%%;*}
    echo "$job" >"$logs/last-job"
    echo "$job $(basename "${*: -1}")"
}

submit "$here/tile-begin.sbatch"
submit --array="0-$((TILE_TASKS - 1))" --output="$logs/%x-%A-%a.log" "$here/tile-block.sbatch"
submit "$here/tile-finish.sbatch"
submit "${gpu[@]}" "$here/train.sbatch"
submit "$here/heatmap-begin.sbatch"
submit "${gpu[@]}" --array="0-$((HEATMAP_TASKS - 1))" --output="$logs/%x-%A-%a.log" "$here/heatmap-block.sbatch"
submit "$here/heatmap-finish.sbatch"
submit "$here/results.sbatch"
echo "logs: $logs; progress: $SLIDEPIPE status --run $RUN"
