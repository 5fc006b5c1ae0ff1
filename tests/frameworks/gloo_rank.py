"""One rank of the gloo comparison: every collective, its result's digest printed by name.

    gloo_rank.py RANK WORLD PORT BACKEND     BACKEND: the TCPStore's, "libuv" or "classic"
"""
import datetime
import hashlib
import os
import sys

import torch
import torch.distributed as dist

SIZES = (1, 63, 4096, 65537, 1 << 20, 1 << 23)
POINT_SIZES = (0, 1, 16, 1000, 4096, 16384, 65536, 65537, 250000, 1 << 20, 5 << 20, 1 << 24)


def data(size, seed, dtype=torch.float32):
    """Small whole numbers: sums are exact in any order. The period is no divisor of any size that a transport cuts at."""
    period = ((torch.arange(251) * 2654435761 + seed * 40503) % 251).to(dtype)
    return period.repeat(size // 251 + 1)[:size]


class Results:
    def __init__(self, rank):
        self.rank = rank

    def add(self, name, *tensors):
        digest = hashlib.sha256()
        for tensor in tensors:
            digest.update(tensor.contiguous().numpy().tobytes())
        print(f"result r{self.rank} {name} {digest.hexdigest()[:16]}", flush=True)

    def equal(self, name, got, want):
        """Against a value worked out here, not only against another run."""
        if not torch.equal(got, want):
            bad = (got != want).nonzero()
            raise AssertionError(f"rank {self.rank}: {name}: {len(bad)} wrong values from {bad[:3].tolist()}")
        self.add(name, got)


def collectives(out, rank, group, members, label):
    world = len(members)
    me = members.index(rank)
    for size in SIZES:
        mine = data(size, rank)
        everyone = [data(size, r) for r in members]
        name = f"{label}/{size}"
        for root in members:
            got = mine.clone()
            dist.broadcast(got, root, group=group)
            out.equal(f"{name}/broadcast-{root}", got, data(size, root))
        for op, fold in ((dist.ReduceOp.SUM, torch.stack(everyone).sum(0)),
                         (dist.ReduceOp.MAX, torch.stack(everyone).amax(0))):
            got = mine.clone()
            dist.all_reduce(got, op, group=group)
            out.equal(f"{name}/all_reduce-{op}", got, fold)
        got = mine.clone()
        dist.reduce(got, members[-1], group=group)
        if rank == members[-1]:
            out.equal(f"{name}/reduce", got, torch.stack(everyone).sum(0))
        got = [torch.zeros(size) for _ in members]
        dist.all_gather(got, mine, group=group)
        out.equal(f"{name}/all_gather", torch.cat(got), torch.cat(everyone))
        got = [torch.zeros(size) for _ in members] if rank == members[0] else None
        dist.gather(mine, got, members[0], group=group)
        if got:
            out.equal(f"{name}/gather", torch.cat(got), torch.cat(everyone))
        got = torch.zeros(size)
        dist.scatter(got, everyone if rank == members[0] else None, members[0], group=group)
        out.equal(f"{name}/scatter", got, everyone[me])
        parts = [data(size, rank * 100 + r) for r in members]
        got = torch.zeros(size * world)
        dist.all_to_all_single(got, torch.cat(parts), group=group)
        out.equal(f"{name}/all_to_all", got, torch.cat([data(size, r * 100 + rank) for r in members]))
        dist.barrier(group=group)


def point_to_point(out, rank, world):
    """Around the ring: blocking sends in both orders, then all sizes in flight at once."""
    right, left = (rank + 1) % world, (rank - 1) % world
    for size in POINT_SIZES:
        got = torch.empty(size)
        if rank % 2 == 0:
            dist.send(data(size, rank), right)
            dist.recv(got, left)
        else:
            dist.recv(got, left)
            dist.send(data(size, rank), right)
        out.equal(f"send/{size}", got, data(size, left))
    got = [torch.empty(size) for size in POINT_SIZES]
    works = [dist.irecv(tensor, left, tag=i) for i, tensor in enumerate(got)]
    works += [dist.isend(data(size, rank + 7), right, tag=i) for i, size in enumerate(POINT_SIZES)]
    for work in works:
        work.wait()
    out.equal("isend", torch.cat(got), torch.cat([data(size, left + 7) for size in POINT_SIZES]))
    got = torch.empty(1000)
    if rank == 0:
        seen = sorted(dist.recv(got, None) for _ in range(world - 1))
        out.equal("recv-any", torch.tensor(seen), torch.arange(1, world))
    else:
        dist.send(data(1000, rank), 0)


def asynchronous(out, rank, world):
    tensors = [data(1 << 18, rank * 31 + i) for i in range(8)]
    works = [dist.all_reduce(tensor, async_op=True) for tensor in tensors]
    for work in works:
        work.wait()
    for i, tensor in enumerate(tensors):
        want = torch.stack([data(1 << 18, r * 31 + i) for r in range(world)]).sum(0)
        out.equal(f"async/{i}", tensor, want)


def objects(out, rank, world):
    got = [None] * world
    dist.all_gather_object(got, {"rank": rank, "text": "x" * (rank + 1) * 5000})
    assert got == [{"rank": r, "text": "x" * (r + 1) * 5000} for r in range(world)], got
    got = [list(range(20000)) if rank == 0 else None]
    dist.broadcast_object_list(got, 0)
    assert got[0] == list(range(20000))
    out.add("objects", torch.tensor(got[0]))


def data_parallel(out, rank):
    torch.manual_seed(1)
    model = torch.nn.parallel.DistributedDataParallel(
        torch.nn.Sequential(torch.nn.Linear(64, 512), torch.nn.ReLU(), torch.nn.Linear(512, 10)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for i in range(10):
        optimizer.zero_grad()
        model(data(64 * 16, rank * 10 + i).view(16, 64) / 256).square().mean().backward()
        optimizer.step()
    out.add("ddp", *model.state_dict().values())


def store_traffic(out, store, rank, world):
    for size in (0, 1, 5000, 200000, 3 << 20):
        store.set(f"key/{rank}/{size}", bytes(i % 251 for i in range(min(size, 5000))) * (size // 5000 or 1))
    for r in range(world):
        for size in (0, 1, 5000, 200000, 3 << 20):
            want = bytes(i % 251 for i in range(min(size, 5000))) * (size // 5000 or 1)
            assert store.get(f"key/{r}/{size}") == want, (r, size)
    assert store.add("count", 1) <= world
    store.set(f"done/{rank}", "1")
    store.wait([f"done/{r}" for r in range(world)])
    out.add("store", torch.tensor([store.add("count", 0)]))


def main():
    rank, world, port = map(int, sys.argv[1:4])
    torch.set_num_threads(1)
    timeout = datetime.timedelta(seconds=120)
    store = dist.TCPStore("127.0.0.1", port, world, rank == 0, timeout, use_libuv=sys.argv[4] == "libuv")
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=timeout)
    out = Results(rank)
    store_traffic(out, store, rank, world)
    collectives(out, rank, None, list(range(world)), "world")
    point_to_point(out, rank, world)
    asynchronous(out, rank, world)
    objects(out, rank, world)
    data_parallel(out, rank)
    if world > 2:
        even = [r for r in range(world) if r % 2 == 0]
        pairs = [dist.new_group(even), dist.new_group([0, world - 1])]
        for i, members in enumerate((even, [0, world - 1])):
            if rank in members:
                collectives(out, rank, pairs[i], members, f"group{i}")
    dist.barrier()
    dist.destroy_process_group()
    # Not through the interpreter's end: a gloo thread that still destroys the barrier's work there takes the GIL,
    # is ended inside a destructor, and aborts the process ("terminate called without an active exception").
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
