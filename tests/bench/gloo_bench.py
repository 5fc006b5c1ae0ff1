"""One rank of the gloo rows: gloo_bench.py TURNS, started as torchrun would. Prints JSON.

How much of the payload went past the kernel is read from TCP_INFO of the real sockets, by a plain
system call: nothing that the preload says about itself is believed.
"""
import ctypes
import json
import os
import resource
import statistics
import struct
import sys
import time

import torch
import torch.distributed as dist

MIB = 1 << 20
SYS_GETSOCKOPT, IPPROTO_TCP, TCP_INFO = 55, 6, 11
BYTES_ACKED = 120  # offset of tcpi_bytes_acked


def acked_by_kernel():
    """Bytes that this process's TCP sockets have had acknowledged, all together."""
    libc, total = ctypes.CDLL(None), 0
    for name in os.listdir("/proc/self/fd"):
        buf, size = ctypes.create_string_buffer(256), ctypes.c_uint32(256)
        ret = libc.syscall(SYS_GETSOCKOPT, int(name), IPPROTO_TCP, TCP_INFO, buf, ctypes.byref(size))
        if ret == 0 and size.value >= BYTES_ACKED + 8:
            total += struct.unpack_from("<Q", buf, BYTES_ACKED)[0]
    return total


def timed(turns, work):
    for turn in range(2):
        work(turn)
    times = []
    for turn in range(turns):
        start = time.perf_counter()
        work(turn)
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def main():
    turns = int(sys.argv[1])
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    big, middle = torch.ones(16 * MIB), torch.ones(4 * MIB)
    sent = 0

    def broadcast(turn):
        nonlocal sent
        dist.broadcast(big, turn % 2)
        sent += big.nbytes * (turn % 2 == rank)

    def there_and_back(turn):
        nonlocal sent
        (dist.send if rank == 0 else dist.recv)(big, 1 - rank)
        (dist.recv if rank == 0 else dist.send)(big, 1 - rank)
        sent += big.nbytes

    def all_reduce(turn):
        nonlocal sent
        dist.all_reduce(middle)
        sent += middle.nbytes

    cpu = time.process_time()
    result = {"broadcast_ms": timed(2 * turns, broadcast), "send_ms": timed(turns, there_and_back) / 2}
    cpu = time.process_time() - cpu
    big.fill_(rank)
    broadcast(1)
    assert big.eq(1).all(), "broadcast gave wrong values"
    result["bulk_cpu_s_per_gb"] = cpu / (sent / 1e9)
    result["all_reduce_ms"] = timed(4 * turns, all_reduce)
    assert middle[0] == middle[-1] == 2.0 ** (4 * turns + 2), "all_reduce gave a wrong sum"
    dist.barrier()
    result.update(sent=sent, kernel=acked_by_kernel(), rss=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    print(json.dumps(result))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
