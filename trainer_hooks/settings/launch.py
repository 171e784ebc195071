"""What the launcher of a distributed job says to its processes: which rank this one is, and of how many."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

# Which rank a launcher says that this process is, and of how many. The innermost first: torchrun is started by srun or
# mpirun and not the other way round; and in a SLURM job all of mpirun's ranks on a node have the SLURM_PROCID of what
# started them there. JOB_COMPLETION_INDEX (Kubernetes) and SLURM_ARRAY_TASK_ID number jobs, not ranks.
_RANKS: Mapping[str, tuple[str, ...]] = {
    "RANK": ("WORLD_SIZE",),
    "OMPI_COMM_WORLD_RANK": ("OMPI_COMM_WORLD_SIZE",),
    "PMI_RANK": ("PMI_SIZE",),
    "PMIX_RANK": (),
    "SLURM_PROCID": ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"),
}

# Of torchrun with its elastic restarts, of torch's own rendezvous, of SLURM, of Open MPI and other PMIx launchers.
_LAUNCH = (
    "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_RESTART_COUNT",
    "MASTER_ADDR",
    "MASTER_PORT",
    "SLURM_JOB_ID",
    "SLURM_STEP_ID",
    "OMPI_MCA_ess_base_jobid",
    "PMIX_NAMESPACE",
)


def main_process_rank(environ: Mapping[str, str] | None = None) -> int:
    """This process's rank in a distributed job, by what the launcher has set; 0 where there is none.

    Asked at call time, not at import: launchers set it late. What is no number says nothing, nor does a rank that its
    own world has no room for: that is left over from elsewhere. `LOCAL_RANK` counts only where no global rank is known.
    """
    environ = os.environ if environ is None else environ
    for name, worlds in _RANKS.items():
        rank = _whole_number(environ, name)
        world = next((size for of in worlds if (size := _whole_number(environ, of)) is not None), None)
        if rank is not None and (world is None or rank < world):
            return rank
    local = _whole_number(environ, "LOCAL_RANK")
    if local is None:
        return 0
    # Lightning tells the node beside it, and the ranks per node no place at all.
    return (_whole_number(environ, "NODE_RANK") or 0) * (_whole_number(environ, "LOCAL_WORLD_SIZE") or 1) + local


def _whole_number(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "").strip()
    return int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else None


def has_other_ranks(environ: Mapping[str, str] | None = None) -> bool:
    """Whether this process is one of several ranks, as far as the launcher says so."""
    environ = os.environ if environ is None else environ
    worlds = (environ.get(name, "1").strip() for name in ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"))
    return any(world.isdecimal() and int(world) > 1 for world in worlds)


def is_on_one_machine(environ: Mapping[str, str] | None = None) -> bool:
    """Whether all ranks of this distributed launch are on this machine, as far as the launcher says so."""
    environ = os.environ if environ is None else environ
    world, local = environ.get("WORLD_SIZE"), environ.get("LOCAL_WORLD_SIZE")  # torchrun's
    if local is not None:
        return local == world
    return "1" in {environ.get("SLURM_STEP_NUM_NODES"), environ.get("SLURM_NNODES")}


def ranks_here(environ: Mapping[str, str] | None = None) -> int:
    """How many ranks torchrun has started on this machine; 1 where it hasn't."""
    environ = os.environ if environ is None else environ
    return _whole_number(environ, "LOCAL_WORLD_SIZE") or 1


def launch_id(environ: Mapping[str, str] | None = None) -> str | None:
    """What the processes of this distributed launch have in common and no other launch has; None outside of one."""
    environ = os.environ if environ is None else environ
    return " ".join(environ[name] for name in _LAUNCH if environ.get(name)) or None
