"""A hand-written loop of two ranks, which torchrun starts; with 0 epochs, rank 1 fails."""

from __future__ import annotations

import sys

import torch
import torch.distributed

import trainer_hooks

torch.distributed.init_process_group("gloo")
rank, epochs = torch.distributed.get_rank(), int(sys.argv[1])
with trainer_hooks.start_run(total_epochs=epochs) as run:
    if not epochs and rank:
        message = "rank 1 has had enough"
        raise ArithmeticError(message)
    for epoch in range(1, epochs + 1):
        loss = torch.tensor(1.0 / epoch + rank)
        torch.distributed.all_reduce(loss)
        run.log_metrics({"loss": loss.item()}, epoch=epoch)
    torch.distributed.barrier()
torch.distributed.destroy_process_group()
