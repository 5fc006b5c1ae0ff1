"""Unmodified PyTorch, one rank on each host: gloo's all_reduce, every element checked.

    test_pytorch.py [--preload LIBRARY [--tool DLACCEL]] [VARIABLE=VALUE...]

With a library the checksums must be those of the bare run; with the tool its counters must show that tensors went by RDMA,
and in iterations where nothing is new straight from tensor to tensor.
"""
import argparse
import collections
import os

import vhost
import hosts
from test_rdma import COUNTERS, counters_script, parse_counters

IMPORT = 600    # seconds; 25 to 33 of them on a machine with nothing else to do
STEADY, TENSOR = 46, 4 * 262144    # as in net_allreduce.py
SETTLED = 8    # registrations: of pieces that such an offer has left
SHOWN = ('net.bytes_verbs', 'rdma.bytes_direct', 'rdma.bytes_in_place', 'rdma.bytes_bounced', 'net.bytes_inline', 'rdma.registrations',
         'net.offers', 'net.withdrawn', 'net.ties', 'net.asides')


def start(a, b, python, port, *args, env=None, **kw):
    worker = str(vhost.HERE / 'net_allreduce.py')
    return [host.spawn([python, worker, rank, a.addr, port, *args],
                       env={'GLOO_SOCKET_IFNAME': host.netdev, **(env or {})}, **kw)
            for rank, host in enumerate((a, b))]


def outcome(jobs):
    results = [job.wait(IMPORT) for job in jobs]
    for r in results:
        assert r.rc == 0, r.err[-3000:]
    assert results[0].out == results[1].out, 'the ranks disagree'
    return results[0].out.strip()


def sent(host):
    return int(host.run(f'cat /sys/class/net/{host.netdev}/statistics/tx_bytes').out)


def upgraded(host, tool):
    """The counters of both ranks, once each has a connection that sends by RDMA."""
    said = host.run(counters_script(tool, COUNTERS), check=False).out    # there may be none yet
    ends = [c for c in parse_counters(said) if c.get('net.upgraded.verbs') and c.get('net.bytes_verbs')]
    return ends if len(ends) == 2 else None


def steady(a, tool, jobs):
    """What the iterations cost in which nothing is new, by each rank's counters: every payload goes from tensor to tensor."""
    vhost.wait_until(lambda: upgraded(a, tool), IMPORT, 'RDMA')
    seen = []
    for mark, said in (('warm', 'settled'), ('go', 'steady')):
        a.run(f'touch {COUNTERS}/{mark}')
        for job in jobs:
            job.expect(f'^{said}$', IMPORT)
        seen.append(upgraded(a, tool))
    a.run(f'touch {COUNTERS}/end')
    return [collections.Counter(after) - collections.Counter(before) for before, after in zip(*seen)]


def body(args):
    python = hosts.interpreter('torch')
    with hosts.near('pytorch', mem=2048, binds=[os.path.dirname(python)]) as (a, b):
        before = sent(a)
        bare = outcome(start(a, b, python, '29500'))
        assert sent(a) - before > 10 * 262144 * 4, 'the tensors did not cross the wire'
        print('ok bare:', bare)
        if not args.preload:
            return
        a.run(f'mkdir -m 700 {COUNTERS}')
        env = {'DLACCEL_DIR': COUNTERS, **dict(pair.split('=', 1) for pair in args.variables)}
        jobs = start(a, b, python, '29501', *([COUNTERS] if args.tool else []), preload=args.preload, env=env)
        spent = steady(a, args.tool, jobs) if args.tool else []
        got = outcome(jobs)
        assert got.splitlines()[0] == bare, (got, bare)
        print('ok preloaded')
        for end in spent:
            print({name: end[name] for name in SHOWN})
            # of two ranks each sends half of the tensor as parts of the sum and the other half as the sum; emulation may be
            # so slow that an offer is taken back, whose bytes then go another way
            assert end['rdma.bytes_direct'] > STEADY * TENSOR * .75, end
            assert end['rdma.registrations'] <= SETTLED, end


parser = argparse.ArgumentParser()
parser.add_argument('--preload')
parser.add_argument('--tool')
parser.add_argument('variables', nargs='*')
arguments = parser.parse_args()
vhost.main(lambda: body(arguments))
