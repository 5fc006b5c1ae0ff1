"""A thousand connections at once move to RDMA within DLACCEL_NET_MEMORY; where that is too little, the others stay on TCP.

    test_many.py --preload LIBRARY --tool DLACCEL
"""
import itertools

import hosts
import vhost
from test_rdma import counters

PORTS = itertools.count(7900)
ROUNDS = 12
LIMIT = 800    # a hundred connections and more a minute, on a machine with ten times its load
PATIENT = {'DLACCEL_RDMA_DEAD': '10s', 'DLACCEL_RDMA_IDLE': '60s'}    # their meetings wait for one another


def ends_of(a, b, args, count, memory):
    """Both ends' counters while all connections are there, and what they said."""
    port, folder, prog = next(PORTS), f'/tmp/counters.{memory}', hosts.program('prog_many')
    a.run(f'mkdir -m 700 {folder}')
    env = {'DLACCEL_DIR': folder, 'DLACCEL_NET_THRESHOLD': '2K', 'DLACCEL_NET_MEMORY': memory, 'DLACCEL_LOG': 'warn', **PATIENT}
    server = b.spawn([prog, 'serve', b.addr, port, count, ROUNDS], preload=args.preload, env=env)
    server.expect('listening')
    go = f'/tmp/go.{memory}'
    a.run(f'mkfifo {go}')
    client = a.spawn(f'head -n 1 {go} | LD_PRELOAD={args.preload} {prog} talk {b.addr} {port} {count} {ROUNDS} {a.addr}',
                     env=env)
    client.expect('all', LIMIT)
    ends = [c for c in counters(a, args.tool, folder) if c.get('net.upgraded.verbs')]
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
