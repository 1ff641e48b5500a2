#!/bin/sh
# One evaluation over the GPUs, or the cores, of one or more machines. Every process takes every n-th picture, nothing
# is padded, and the rows of all end in one table; a stopped run goes on from the rows in --out.
#
#   examples/torchrun/evaluate.sh /data/imagenet-val-shards casm 8
#   NODES=2 RANK_OF_NODE=0 HEAD=node0:29500 examples/torchrun/evaluate.sh …    # on each machine, --out on a shared disk
set -eu
data=$1 method=$2 processes=${3:-2}
if [ "${NODES:-1}" -gt 1 ]; then
  set -- --nnodes "$NODES" --node-rank "$RANK_OF_NODE" --rdzv-backend c10d --rdzv-endpoint "$HEAD"
else
  set -- --standalone
fi
: "${OMP_NUM_THREADS:=1}"
export OMP_NUM_THREADS
exec torchrun "$@" --nproc-per-node "$processes" -m maskwise evaluate \
  --data "$data" --method "$method" --metrics "${METRICS:-le,f1,pointing,area}" --out "${OUT:-evaluated}" ${LIMIT:+--limit "$LIMIT"}
