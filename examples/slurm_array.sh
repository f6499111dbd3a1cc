#!/bin/bash
# One clip over the nodes of a Slurm cluster: an array job makes the frames in parts, a last job the preview and report.
#
#     bash examples/slurm_array.sh shot.mov out/ 2400 240
#
# CLIP, OUT (a folder that all nodes see), frames of the clip, frames of a part. A part that was stopped or lost a frame
# is made good by running the same line again: frames that are there are kept.
set -euo pipefail

clip=$1
out=$2
frames=$3
part=$4
parts=$(( (frames + part - 1) / part ))

# hdrvid finds the exposures from the start of the clip in every part, so all parts use the same ones; naming them
# (--exposures 0,3) and the arithmetic (--precision fp32) keeps that true where the nodes differ in kind.
array=$(sbatch --parsable --job-name hdrvid --array "0-$((parts - 1))" --cpus-per-task 8 --mem 12G <<JOB
#!/bin/bash
first=\$((SLURM_ARRAY_TASK_ID * $part))
export OMP_NUM_THREADS=\$SLURM_CPUS_PER_TASK
srun hdrvid reconstruct "$clip" -o "$out" --precision fp32 --no-preview --frames "\$first-\$((first + $part - 1))"
JOB
)

# Every frame is there now and is kept: this makes the preview and the report of the whole clip, and any missing frame.
# afterany, not afterok: a part that failed is done again here.
sbatch --job-name hdrvid-preview --dependency "afterany:$array" --cpus-per-task 8 --mem 12G <<JOB
#!/bin/bash
export OMP_NUM_THREADS=\$SLURM_CPUS_PER_TASK
srun hdrvid reconstruct "$clip" -o "$out" --precision fp32
JOB
