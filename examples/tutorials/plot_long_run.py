"""
A long run on a cluster
=======================

After this tutorial you can share a run out to the jobs of a queue, have a killed job go on
where it was, join the parts, and run on until the interval is narrow enough. The result has
the same bits as one run on one machine.
"""

# %%
# The example runs here: it starts two jobs, one after the other, in a temporary folder, and
# kills one of them. On a cluster the same files do the same.
#
# The model
# ---------
#
# Jobs import the model from a file. This one sleeps a little for each batch, as a stand-in
# for a slow network.

import importlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mcgen

folder = Path(tempfile.mkdtemp())
_ = (folder / "slow_model.py").write_text(
    """
import time

import numpy as np

import mcgen


def sample(z):
    time.sleep(0.04)
    return np.exp(0.1 * np.cumsum(z, axis=1))


generator = mcgen.as_generator(sample, noise=(32,), name="slow model")
statistic = mcgen.as_statistic(lambda x: x.max(axis=1), name="maximum")
"""
)

# %%
# The job
# -------
#
# A run of 3,000 replicates becomes parts: each job runs a range of them, into a store of
# its own. Replicate r has the same noise in every job, since its noise follows from the
# seed and r. Parts need the same ``batch_size``.

_ = (folder / "job.py").write_text(
    """
import sys

import mcgen
import slow_model

task, n_tasks = int(sys.argv[1]), int(sys.argv[2])
n_replicates = 3000
part = range(task * n_replicates // n_tasks, (task + 1) * n_replicates // n_tasks)
mcgen.estimate(
    slow_model.generator,
    slow_model.statistic,
    design=mcgen.Antithetic(),
    replicates=part,
    seed=0,
    batch_size=64,
    store=f"part{task}.sqlite",
    progress=False,
)
"""
)

# %%
# The script for the queue
# ------------------------
#
# On a cluster with SLURM, a job array starts the parts. ``--requeue`` starts a job again
# that was killed. Give each job one thread, as here, or all of them the same number.
#
# .. code-block:: bash
#
#     #!/bin/bash
#     #SBATCH --array=0-1
#     #SBATCH --cpus-per-task=1
#     #SBATCH --requeue
#     export OMP_NUM_THREADS=1
#     python job.py $SLURM_ARRAY_TASK_ID $SLURM_ARRAY_TASK_COUNT
#
# A job is killed
# ---------------
#
# Start job 0, wait until its store has some replicates, and kill it without a warning.

command = [sys.executable, "job.py"]
job = subprocess.Popen([*command, "0", "2"], cwd=folder)
store = folder / "part0.sqlite"


def n_finished() -> int:
    """Return the number of replicates in the store of job 0."""
    try:
        return sum(run.n_finished for run in mcgen.read_store(store))
    except mcgen.StoreError:  # there is none yet
        return 0


while n_finished() == 0:
    time.sleep(0.1)
job.kill()
job.wait()
print("killed; is a part of the replicates finished?", 0 < n_finished() < 1500)

# %%
# ``mcgen.status(store)``, or ``mcgen status part0.sqlite`` in a shell, shows how far it got
# and the interval so far. The same command goes on from there. Nothing else is needed.

subprocess.run([*command, "0", "2"], cwd=folder, check=True)
print("finished:", n_finished())

# %%
# Join the parts
# --------------
#
# Job 1 runs the other half. ``merge_stores``, or ``mcgen merge part*.sqlite -o run.sqlite``
# in a shell, makes one store of all parts. It refuses parts that overlap, leave a gap or
# belong to different runs.

subprocess.run([*command, "1", "2"], cwd=folder, check=True)
merged = folder / "run.sqlite"
mcgen.merge_stores([folder / "part0.sqlite", folder / "part1.sqlite"], merged)

# %%
# The merged store is that of one run of 3,000 replicates. The call below finds them all in
# it, and runs nothing.

sys.path.insert(0, str(folder))
slow_model = importlib.import_module("slow_model")
result = mcgen.estimate(
    slow_model.generator,
    slow_model.statistic,
    design=mcgen.Antithetic(),
    n_replicates=3000,
    seed=0,
    batch_size=64,
    store=merged,
)
print(result)

# %%
# Is it the number of one run, to the last bit? Here is that run, without a store:

alone = mcgen.estimate(
    slow_model.generator,
    slow_model.statistic,
    design=mcgen.Antithetic(),
    n_replicates=3000,
    seed=0,
    batch_size=64,
)
print(alone == result)

# %%
# More, later
# -----------
#
# A store can be extended. Ask for more replicates, and only the new ones run:

longer = mcgen.estimate(
    slow_model.generator,
    slow_model.statistic,
    design=mcgen.Antithetic(),
    n_replicates=4000,
    seed=0,
    batch_size=64,
    store=merged,
)
print(longer)

# %%
# The plot shows the interval against the number of evaluations:

figure = mcgen.plots.convergence(longer)
figure

# %%
# Stop when it is narrow enough
# -----------------------------
#
# Often nobody knows how many replicates it takes. ``atol`` is the half-width that you want,
# and the run ends when it is reached. A first stage of replicates says how many are needed,
# and the interval allows for that. Give ``max_evaluations`` too: the most that the run may
# cost. A run with ``atol`` takes a store too, and goes on after a kill.

sure = mcgen.estimate(
    slow_model.generator,
    slow_model.statistic,
    design=mcgen.Antithetic(),
    atol=0.02,
    max_evaluations=20_000,
    seed=1,
    batch_size=64,
)
print(sure)
print(sure.stopping.reason if sure.stopping else "")

# %%
# Do not stop a run yourself because its interval looks narrow enough: it then stops where
# the replicates happen to look alike, and covers too rarely. ``interval="anytime"`` is for
# that.
#
# What to remember
# ----------------
#
# - ``store=`` costs next to nothing, and saves the run when a machine goes down.
# - Keep a store on a local disk, one for each job; SQLite locks are unreliable on network
#   file systems.
# - A store belongs to its model. If the code, the weights or the settings change, the next
#   call is refused and says what differs.
# - Parts need the same seed, design and ``batch_size``.
#
# Where to go next
# ----------------
#
# - :doc:`/how-to/long-runs`: stopping rules, and what a store knows.
# - :doc:`/how-to/distributed`: processes, Dask, MPI and several GPUs, without parts.
# - :doc:`/how-to/track-a-run`: watch a run while it goes on.
# - :doc:`/how-to/command-line`: the same from a shell.
