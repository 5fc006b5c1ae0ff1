"""One rank of a training with DistributedDataParallel over gloo: net_ddp.py RANK MASTER PORT STEPS [FOLDER]; prints a checksum of every
weight after the last step, and how large the buckets were.

The layers are used in another order than they are made in, so that the buckets that DDP builds anew after the first step are others.
With a FOLDER it first reduces a tensor of another shape until FOLDER/warm is there; after each of the first steps, and after the last,
it says `step N` and waits for FOLDER/step N.
"""
import hashlib
import sys

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from net_allreduce import RANKS, stop_at, warm_up

WIDTHS, BATCH, SEED = (256, 640, 512, 400), 16, 4
EACH = 12    # steps after which it stops


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.made = torch.nn.ModuleList(torch.nn.Linear(*pair, bias=False) for pair in reversed(list(zip(WIDTHS, WIDTHS[1:]))))

    def forward(self, x):
        for layer in reversed(self.made):
            x = torch.tanh(layer(x))
        return x


def train(rank, steps, folder):
    torch.manual_seed(SEED)
    model = DistributedDataParallel(Model(), bucket_cap_mb=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=.05, momentum=.9)
    torch.manual_seed(SEED + 1 + rank)
    for i in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(torch.randn(BATCH, WIDTHS[0])), torch.randn(BATCH, WIDTHS[-1]))
        loss.backward()
        optimizer.step()
        if folder and (i < EACH or i == steps - 1):
            stop_at(f'step {i}', folder)
    return model


def main(rank, master, port, steps, folder=None):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'tcp://{master}:{port}', rank=rank, world_size=RANKS)
    if folder:
        warm_up(torch.empty(WIDTHS[0] * WIDTHS[1]), rank, folder)
    model = train(rank, steps, folder)
    weights = hashlib.sha256(b''.join(p.detach().numpy().tobytes() for p in model.parameters()))
    sizes = model._get_ddp_logging_data()
    print(weights.hexdigest(), 'buckets', sizes['bucket_sizes'], 'then', sizes['rebuilt_bucket_sizes'], flush=True)
    dist.barrier()
    dist.destroy_process_group()


main(int(sys.argv[1]), *sys.argv[2:4], int(sys.argv[4]), *sys.argv[5:])
