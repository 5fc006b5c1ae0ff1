"""Unmodified PyTorch, one rank on each host: gloo's all_reduce, every element checked.

    test_pytorch.py [--preload LIBRARY [--tool DLACCEL]] [VARIABLE=VALUE...]

The interpreter is VHOST_PYTHON, else the checkout's .venv; with a library the checksums must be
those of the bare run; with the tool its counters must show that tensors went by RDMA.
"""
import argparse
import os
import subprocess

import vhost
import hosts
from test_rdma import COUNTERS, counters

IMPORT = 600    # seconds; 25 to 33 of them on a machine with nothing else to do


def interpreter():
    path = os.environ.get('VHOST_PYTHON') or str(vhost.CHECKOUT / '.venv/bin/python')
    found = subprocess.run([path, '-c', 'import importlib.util as u; print(u.find_spec("torch"))'],
                           stdout=subprocess.PIPE, text=True).stdout if os.path.exists(path) else ''
    assert 'ModuleSpec' in found, f'{path} has no PyTorch; tools/check makes the .venv with it'
    return path


def allreduce(a, b, python, port, env=None, **kw):
    worker = str(vhost.HERE / 'net_allreduce.py')
    jobs = [host.spawn([python, worker, rank, a.addr, port],
                       env={'GLOO_SOCKET_IFNAME': host.netdev, **(env or {})}, **kw)
            for rank, host in enumerate((a, b))]
    results = [job.wait(IMPORT) for job in jobs]
    for r in results:
        assert r.rc == 0, r.err[-3000:]
    assert results[0].out == results[1].out, 'the ranks disagree'
    return results[0].out.strip()


def body(args):
    env = dict(pair.split('=', 1) for pair in args.variables)
    with hosts.near('pytorch', mem=2048, binds=[os.path.dirname(interpreter())]) as (a, b):
        def sent():
            return int(a.run(f'cat /sys/class/net/{a.netdev}/statistics/tx_bytes').out)
        before = sent()
        bare = allreduce(a, b, interpreter(), '29500')
        assert sent() - before > 10 * 262144 * 4, 'the tensors did not cross the wire'
        print('ok bare:', bare)
        if args.preload:
            a.run(f'mkdir -m 700 {COUNTERS}')
            got = allreduce(a, b, interpreter(), '29501', preload=args.preload,
                            env={'DLACCEL_DIR': COUNTERS, **env})
            assert got == bare, (got, bare)
            print('ok preloaded')
        if args.tool:
            ends = [c for c in counters(a, args.tool) if c.get('net.upgraded.verbs')]
            assert len(ends) == 2 and all(c['net.bytes_verbs'] > 1 << 20 for c in ends), ends
            assert sum(c.get('rdma.bytes_direct', 0) for c in ends) > 1 << 20, ends
            print('ok RDMA:', [(c['net.bytes_verbs'], c.get('rdma.bytes_direct', 0)) for c in ends])


parser = argparse.ArgumentParser()
parser.add_argument('--preload')
parser.add_argument('--tool')
parser.add_argument('variables', nargs='*')
arguments = parser.parse_args()
vhost.main(lambda: body(arguments))
