"""One rank of a gloo job: net_allreduce.py RANK MASTER PORT; prints a checksum of every result."""
import hashlib
import sys

import torch
import torch.distributed as dist

RANKS, ROUNDS = 2, 50
SHAPES = (1, 64, 1000, 16384, 262144)


def share(rank, size, i):
    return ((torch.arange(size, dtype=torch.int64) * (rank + 3) + i) % 97).float()


def main(rank, master, port):
    dist.init_process_group('gloo', init_method=f'tcp://{master}:{port}', rank=rank,
                            world_size=RANKS)
    digest = hashlib.sha256()
    for i in range(ROUNDS):
        size = SHAPES[i % len(SHAPES)]
        mine = share(rank, size, i)
        dist.all_reduce(mine)
        assert torch.equal(mine, sum(share(r, size, i) for r in range(RANKS))), (i, size)
        digest.update(mine.numpy().tobytes())
    dist.barrier()
    dist.destroy_process_group()
    print(torch.__version__, ROUNDS, digest.hexdigest())


main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
