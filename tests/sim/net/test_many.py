"""A thousand connections at once move to RDMA within DLACCEL_NET_MEMORY; where that is too little, the others stay on TCP. So many
queue pairs, and so much registered memory, does the kernel have; and none once they are closed, while both programs go on.

    test_many.py --preload LIBRARY --tool DLACCEL
"""
import itertools

import hosts
import kernel
import vhost
from test_rdma import counters_of

PORTS = itertools.count(7900)
ROUNDS = 12
SETTLE = 120
LIMIT = 800    # a hundred connections and more a minute, on a machine with ten times its load
PATIENT = {'DLACCEL_RDMA_DEAD': '10s', 'DLACCEL_RDMA_IDLE': '60s'}    # their meetings wait for one another


def agree(device, job, tool, folder):
    """The kernel has a queue pair and rings for each link, and no other memory that a peer may reach. There may be links whose stream has not
    looked for them yet."""
    (end,), now = counters_of(device.host, tool, folder, [job]), device.look()
    return len(now.pairs) == len(now.regions) >= end['net.upgraded.verbs'] and sum(now.regions.values()) == end['net.ring_bytes']


def ends_of(a, b, args, count, memory):
    """Both ends' counters while all connections are there, and what they said."""
    lists = kernel.Lists(a), kernel.Lists(b)
    port, folder, prog = next(PORTS), f'/tmp/counters.{memory}', hosts.program('prog_many')
    a.run(f'mkdir -m 700 {folder}')
    env = {'DLACCEL_DIR': folder, 'DLACCEL_NET_THRESHOLD': '2K', 'DLACCEL_NET_MEMORY': memory, 'DLACCEL_LOG': 'warn', **PATIENT}
    server = b.spawn([prog, 'serve', b.addr, port, count, ROUNDS], preload=args.preload, env=env)
    server.expect('listening')
    go = f'/tmp/go.{memory}'
    a.run(f'mkfifo {go}')
    client = a.spawn(f'exec env LD_PRELOAD={args.preload} {prog} talk {b.addr} {port} {count} {ROUNDS} {a.addr} 0<>{go}', env=env)
    client.expect('all', LIMIT)
    for job, device in zip((client, server), lists):
        vhost.wait_until(lambda: agree(device, job, args.tool, folder), SETTLE, f'{device.host.rdma}: what is counted and what the kernel has')
    ends = counters_of(a, args.tool, folder, (client, server))
    a.run(f'echo > {go}')
    for job, device in zip((client, server), lists):
        job.expect('closed')
        device.wait(lambda now: not now.pairs and not now.regions, SETTLE, 'what connections had that are closed is given back')
        assert job.rc is None, job.describe('ended')
    a.run(f'echo > {go}')
    for job in client, server:
        got = job.wait(120)
        assert got.rc == 0, got.err
    said = a.run(f'cat {folder}/log', check=False).out
    return ends, said


def body(args):
    with hosts.near('many') as (a, b):
        ends, _ = ends_of(a, b, args, 1000, '64M')
        assert len(ends) == 2, ends
        for end in ends:
            assert end['net.upgraded.verbs'] == 1000, end
            assert end['net.ring_bytes'] <= 64 << 20, end
        print('ok 1000 connections by RDMA in', ' and '.join(f"{e['net.ring_bytes'] >> 10} KiB" for e in ends))
        ends, said = ends_of(a, b, args, 300, '8M')
        for end in ends:
            assert 50 <= end['net.upgraded.verbs'] < 300, end
            assert end['net.ring_bytes'] <= 8 << 20, end
        assert any(e.get('net.fallback.memory_cap') for e in ends), ends
        assert 1 <= said.count('DLACCEL_NET_MEMORY reached') <= 2, said    # one line of each process
        print('ok of 300 connections within 8 MiB', ends[0]['net.upgraded.verbs'], 'by RDMA, the others by TCP')


if __name__ == '__main__':
    vhost.main_preloaded(body)
