"""Unmodified grpcio between two hosts, the threads of one server and the loop of another: unary calls and streams, bare and preloaded the
same, and RDMA carries what it can.

    test_grpc.py --preload LIBRARY --tool DLACCEL
"""
import itertools
import os

import hosts
import vhost
from test_rdma import COUNTERS, counters

PEER = str(vhost.CHECKOUT / 'tests/frameworks/grpc_peer.py')
PORTS = itertools.count(7900)
MOST = str(1 << 20)    # bytes of a message
IMPORT = 300           # seconds


def exchange(a, b, python, style, **kw):
    """The lines of results."""
    port = str(next(PORTS))
    server = b.spawn([python, PEER, 'server', port, style, b.addr], **kw)
    b.guest.wait_tcp(port, IMPORT)
    said = a.run([python, PEER, 'client', port, style, b.addr, MOST], limit=IMPORT, **kw).out
    server.kill('TERM')
    return [line for line in said.splitlines() if line.startswith('result ')]


def body(args):
    python = hosts.interpreter('grpc')
    with hosts.near('grpc', mem=2048, binds=[os.path.dirname(python)]) as (a, b):
        for style in ('sync', 'asyncio'):
            bare = exchange(a, b, python, style)
            assert len(bare) > 20, bare
            folder = f'{COUNTERS}.{style}'
            a.run(f'mkdir -m 700 {folder}')
            env = {'DLACCEL_DIR': folder, 'DLACCEL_NET_THRESHOLD': '2K', 'DLACCEL_LOG': 'info'}
            got = exchange(a, b, python, style, env=env, preload=args.preload)
            assert got == bare, (got, bare)
            ends = counters(a, args.tool, folder)
            moved = sum(c.get('net.bytes_verbs', 0) for c in ends)
            assert moved == sum(c.get('net.recv_verbs', 0) for c in ends) > 1 << 20, (ends, a.run(f'cat {folder}/log').out)
            assert not any('net.violations' in c for c in ends), ends
            print(f'ok {style}: {len(got)} results, {moved} bytes by RDMA')


if __name__ == '__main__':
    vhost.main_preloaded(body)
