#!/bin/bash
# One clip over two machines. Run the same line on both, with the name of the one that prints and writes the report:
#
#     bash examples/torchrun_two_nodes.sh node1 shot.mov out/
#
# Both must see the clip and the folder under these names and have the same hdrvid installed. PROCESSES is the number on
# each machine: one an accelerator, or one for every few CPU cores.
set -euo pipefail

address=$1
clip=$2
out=$3
processes=${PROCESSES:-2}

# The cores of the machine shared out evenly; without this torchrun gives every process one.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(( ($(nproc) + processes - 1) / processes ))}

torchrun --nnodes 2 --nproc-per-node "$processes" \
    --rdzv-backend c10d --rdzv-endpoint "$address:29500" --rdzv-id hdrvid \
    -m hdrvid reconstruct "$clip" -o "$out"
