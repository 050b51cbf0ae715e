#!/bin/bash
# Tag an archive of recordings as a Slurm job array: each task takes its share, and goes on where it was killed.
#
#     sbatch --array=0-15 --requeue --signal=B:TERM@60 examples/tag_archive.sh archive/ runs/a events/
#
# Afterwards events/ holds a table for each recording. Without Slurm: SLURM_ARRAY_TASK_ID=0 SLURM_ARRAY_TASK_COUNT=1.
#SBATCH --cpus-per-task=4
#SBATCH --time=4:00:00
set -euo pipefail
archive=$1 run=$2 events=$3

# `exec`, so that Slurm's signals reach glat itself. Status 1: some recordings could not be read, which it lists.
exec glat tag "$archive" --run "$run" --events "$events" --format csv \
    --part "$((SLURM_ARRAY_TASK_ID + 1))/$SLURM_ARRAY_TASK_COUNT"
