"""One rank of a gloo job: net_allreduce.py RANK MASTER PORT [FOLDER]; prints a checksum of every result.

With a FOLDER it goes on with one tensor of one shape: until FOLDER/warm is there, SETTLE times, and from when FOLDER/go is
there STEADY times, saying where it is.
"""
import hashlib
import os
import sys
import time

import torch
import torch.distributed as dist

RANKS, ROUNDS = 2, 50
SHAPES = (1, 64, 1000, 16384, 262144)
SETTLE, STEADY = 3, 46


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
    for i in range(rounds):
        tensor.copy_(share(rank, len(tensor), i))
        dist.all_reduce(tensor)
        assert torch.equal(tensor, sum(share(r, len(tensor), i) for r in range(RANKS))), i


def say(what):
    dist.barrier()
    print(what, flush=True)


def steady(rank, folder):
    tensor, warm = torch.empty(SHAPES[-1]), torch.zeros(1)
    while not warm[0]:
        reduce_into(tensor, rank, 1)
        warm[0] = os.path.exists(folder + '/warm')
        dist.all_reduce(warm)
    reduce_into(tensor, rank, SETTLE)
    say('settled')
    while not os.path.exists(folder + '/go'):
        time.sleep(.1)
    reduce_into(tensor, rank, STEADY)
    say('steady')
    while not os.path.exists(folder + '/end'):
        time.sleep(.1)


def main(rank, master, port, folder=None):
    dist.init_process_group('gloo', init_method=f'tcp://{master}:{port}', rank=rank,
                            world_size=RANKS)
    digest = hashlib.sha256()
    shapes(rank, digest)
    print(torch.__version__, ROUNDS, digest.hexdigest(), flush=True)
    if folder:
        steady(rank, folder)
    dist.barrier()
    dist.destroy_process_group()


main(int(sys.argv[1]), *sys.argv[2:])
