#!/usr/bin/env bash
# Measures a corpus's clips, or ingests them, from a job of its own that asks for workers and waits for them:
#   sbatch deploy/slurm/measure.sh clip_features konvid-150k
#SBATCH --job-name=vqa
#SBATCH --cpus-per-task=2
#SBATCH --mem=8G
#SBATCH --time=3-00:00:00
set -euo pipefail
export VQA_DATA_ROOT=${VQA_DATA_ROOT:-/srv/vqa/data} DAGSTER_HOME=${DAGSTER_HOME:-/srv/vqa/dagster}
export VQA_DASK_CLUSTER=${VQA_DASK_CLUSTER:-/srv/vqa/code/deploy/slurm/cluster.toml}
export PATH=/srv/vqa/code/.venv/bin:$PATH
python -m vqa_assets.home  # alone with it: jobs that meet in a fresh home would ruin its storage
exec dagster asset materialize -m vqa_assets.definitions --select "$1" --partition "$2" \
  --config-json '{"resources": {"clip_pool": {"config": {"implementation": "dask"}}}}'
