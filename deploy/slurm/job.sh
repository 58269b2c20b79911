#!/usr/bin/env bash
#SBATCH -J dask-worker
#SBATCH -e /srv/vqa/dask/dask-worker-%J.err
#SBATCH -o /srv/vqa/dask/dask-worker-%J.out
#SBATCH -p cpu
#SBATCH -n 1
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
#SBATCH -t 24:00:00
/srv/vqa/code/.venv/bin/python -m distributed.cli.dask_worker tls://COORDINATOR:PORT --name dummy-name --nthreads 4 --memory-limit 16.00GiB --nanny --death-timeout 60 --local-directory /tmp --protocol tls:// --tls-ca-file /srv/vqa/dask/.dask-jobqueue.worker.ca_file.KEY --tls-cert /srv/vqa/dask/.dask-jobqueue.worker.cert.KEY --tls-key /srv/vqa/dask/.dask-jobqueue.worker.key.KEY
