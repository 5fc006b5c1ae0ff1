"""One rank of a gloo job: net_allreduce.py RANK MASTER PORT [FOLDER]; prints a checksum of every result.

With a FOLDER it goes on with one tensor of one shape until FOLDER/warm is there, and then through PHASES, in the midst of which
the shape changes; behind that an iteration is skipped. After each it says its name and waits for FOLDER/name.
"""
import hashlib
import os
import sys
import time

import torch
import torch.distributed as dist

RANKS, ROUNDS = 2, 50
SHAPES = (1, 64, 1000, 16384, 262144)
CHANGED, SKIPPED = 393216, 7
PHASES = (('settled', SHAPES[-1], 3), ('first half', SHAPES[-1], 23), ('second half', SHAPES[-1], 23),    # name, size, iterations
          ('changed', CHANGED, 3), ('settled again', CHANGED, 48))


def share(rank, size, i):
    return ((torch.arange(size, dtype=torch.int64) * (rank + 3) + i) % 97).float()


def shapes(rank, digest):
    for i in range(ROUNDS):
        size = SHAPES[i % len(SHAPES)]
        mine = share(rank, size, i)
        dist.all_reduce(mine)
        assert torch.equal(mine, sum(share(r, size, i) for r in range(RANKS))), (i, size)
        digest.update(mine.numpy().tobytes())


def reduce_into(tensor, rank, rounds):
    for i in rounds:
        tensor.copy_(share(rank, len(tensor), i))
        dist.all_reduce(tensor)
        assert torch.equal(tensor, sum(share(r, len(tensor), i) for r in range(RANKS))), i


def stop_at(name, folder):
    dist.barrier()
    print(name, flush=True)
    while not os.path.exists(f'{folder}/{name}'):
        time.sleep(.1)


def warm_up(tensor, rank, folder):
    warm = torch.zeros(1)
    while not warm[0]:
        reduce_into(tensor, rank, [0])
        warm[0] = os.path.exists(folder + '/warm')
        dist.all_reduce(warm)


def phases(rank, folder):
    tensors = {size: torch.empty(size) for _, size, _ in PHASES}
    warm_up(tensors[SHAPES[-1]], rank, folder)
    for name, size, rounds in PHASES:
        reduce_into(tensors[size], rank, [i for i in range(rounds) if name != 'settled again' or i != SKIPPED])
        stop_at(name, folder)


def main(rank, master, port, folder=None):
    dist.init_process_group('gloo', init_method=f'tcp://{master}:{port}', rank=rank,
                            world_size=RANKS)
    digest = hashlib.sha256()
    shapes(rank, digest)
    print(torch.__version__, ROUNDS, digest.hexdigest(), flush=True)
    if folder:
        phases(rank, folder)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == '__main__':
    main(int(sys.argv[1]), *sys.argv[2:])
