"""Unmodified PyTorch, one rank on each host: gloo's all_reduce, every element checked.

    test_pytorch.py [--preload LIBRARY [--tool DLACCEL]] [VARIABLE=VALUE...]

With a library the checksums must be those of the bare run; with the tool its counters must show that tensors went by RDMA, in
iterations where nothing is new straight from tensor to tensor and without a registration; the same again after a change of shape.
In each of these phases the kernel has registered memory as often as the counters say (None where a link has failed meanwhile).
"""
import argparse
import collections
import os

import vhost
import hosts
import kernel
from test_rdma import COUNTERS, counters_of

IMPORT = 600    # seconds; 25 to 33 of them on a machine with nothing else to do
PHASES = ('settled', 'first half', 'second half', 'changed', 'settled again')    # as in net_allreduce.py
STEADY = {    # iterations, elements, and how many registrations there may be although no offer was taken back
    'first half': (23, 262144, 8), 'second half': (23, 262144, 0), 'settled again': (23, 393216, 0)}
LEFT = 2    # registrations at an end of what an offer that was taken back has left
BY_KERNEL = 'registrations by the kernel'
SHOWN = ('net.bytes_verbs', 'rdma.bytes_direct', 'rdma.bytes_in_place', 'rdma.bytes_bounced', 'net.bytes_inline', 'rdma.registrations',
         'net.offers', 'net.withdrawn', 'net.ties', 'net.asides', BY_KERNEL)


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


def upgraded(host, tool, jobs):
    """The counters of both ranks, once each has a connection that sends by RDMA."""
    ends = [c for c in counters_of(host, tool, COUNTERS, jobs) if c.get('net.upgraded.verbs') and c.get('net.bytes_verbs')]
    return ends if len(ends) == 2 else None


def walk(a, b, tool, jobs):
    """{phase: what it cost, by each rank's counters}, the kernel's registrations among them."""
    vhost.wait_until(lambda: upgraded(a, tool, jobs), IMPORT, 'RDMA')
    lists = kernel.Lists(a), kernel.Lists(b)
    spent, before, seen, go_on = {}, None, None, 'warm'
    for name in PHASES:
        a.run(f'touch "{COUNTERS}/{go_on}"')
        for job in jobs:
            job.expect(f'^{name}$', IMPORT)
        after, looks, go_on = upgraded(a, tool, jobs), [device.look(count=True) for device in lists], name
        if before:
            spent[name] = [collections.Counter(x) - collections.Counter(y) for x, y in zip(after, before)]
            for end, *look in zip(spent[name], seen, looks):
                end[BY_KERNEL] = kernel.registered(*look)
        before, seen = after, looks
    a.run(f'touch "{COUNTERS}/{go_on}"')
    return spent


def taken_back(end):
    """Offers, and pieces that were not offered since the peer waited to be read; a loop that was told EAGAIN offers it again."""
    return end['net.withdrawn'] + end['net.ties'] - end['net.asides']


def check_steady(name, ends):
    """Every payload goes from tensor to tensor, and registrations stop. Of two ranks each sends half of the tensor as parts of the sum and
    the other half as the sum, in two pieces each; emulation may be so slow that an offer is taken back, whose piece then goes another way,
    and some pieces after it, for which less is offered."""
    rounds, elements, new = STEADY[name]
    for end, peer in zip(ends, ends[::-1]):
        assert end['rdma.bytes_direct'] >= (2 if taken_back(peer) else 4) * rounds * elements, (name, end, peer)
        assert end['rdma.registrations'] <= new + LEFT * (taken_back(end) + taken_back(peer)), (name, end, peer)


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
        spent = walk(a, b, args.tool, jobs) if args.tool else {}
        got = outcome(jobs)
        assert got.splitlines()[0] == bare, (got, bare)
        print('ok preloaded')
        for name, ends in spent.items():
            for end in ends:
                print(f'{name}:', {counter: end[counter] for counter in SHOWN})
                assert end[BY_KERNEL] in (None, end['rdma.registrations']), (name, end)
        for name in STEADY if spent else ():
            check_steady(name, spent[name])


parser = argparse.ArgumentParser()
parser.add_argument('--preload')
parser.add_argument('--tool')
parser.add_argument('variables', nargs='*')
arguments = parser.parse_args()
vhost.main(lambda: body(arguments))
