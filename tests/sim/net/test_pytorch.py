"""Unmodified PyTorch, one rank on each host: gloo's all_reduce, every element checked, and a training with DistributedDataParallel.

    test_pytorch.py [--preload LIBRARY [--tool DLACCEL]] [VARIABLE=VALUE...]

With a library the checksums must be those of the bare run, of the weights too; with the tool its counters must show that tensors went by
RDMA, from the fourth iteration after a change of shape on (DDP's first step is one) straight from tensor to tensor and without a registration.
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
STEADY = (    # of each shape, phases in which nothing is new: iterations, elements
    {'first half': (23, 262144), 'second half': (23, 262144)}, {'settled again': (47, 393216)})
STEPS, EACH = 30, 12    # of the training, and its first ones, after each of which it stops
SETTLED = 4             # the fourth step with the buckets that DDP has built anew after step 0
LEFT = 2    # registrations at an end of what an offer that was taken back has left
SCRATCH = 4    # and of scratch memory for a bucket: each of gloo's two threads has its own, and may come to its first work at any time
BY_KERNEL = 'registrations by the kernel'
SHOWN = ('net.bytes_verbs', 'rdma.bytes_direct', 'rdma.bytes_in_place', 'rdma.bytes_bounced', 'net.bytes_inline', 'rdma.registrations',
         'net.offers', 'net.withdrawn', 'net.ties', 'net.asides', BY_KERNEL)


def start(a, b, python, program, port, *args, env=None, **kw):
    worker = str(vhost.HERE / program)
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


def upgraded(host, tool, folder, jobs):
    """The counters of both ranks, once each has a connection that sends by RDMA."""
    ends = [c for c in counters_of(host, tool, folder, jobs) if c.get('net.upgraded.verbs') and c.get('net.bytes_verbs')]
    return ends if len(ends) == 2 else None


def walk(a, b, tool, folder, jobs, names):
    """{phase: what it cost, by each rank's counters}, the kernel's registrations among them; of all but the first."""
    vhost.wait_until(lambda: upgraded(a, tool, folder, jobs), IMPORT, 'RDMA')
    lists = kernel.Lists(a), kernel.Lists(b)
    spent, before, seen, go_on = {}, None, None, 'warm'
    for name in names:
        a.run(f'touch "{folder}/{go_on}"')
        for job in jobs:
            job.expect(f'^{name}$', IMPORT)
        after, looks, go_on = upgraded(a, tool, folder, jobs), [device.look(count=True) for device in lists], name
        if before:
            spent[name] = [collections.Counter(x) - collections.Counter(y) for x, y in zip(after, before)]
            for end, *look in zip(spent[name], seen, looks):
                end[BY_KERNEL] = kernel.registered(*look)
        before, seen = after, looks
    a.run(f'touch "{folder}/{go_on}"')
    for name, ends in spent.items():
        for end in ends:
            print(f'{name}:', {counter: end[counter] for counter in SHOWN})
            assert end[BY_KERNEL] in (None, end['rdma.registrations']), (name, end)
    return spent


def taken_back(end):
    """Offers, and pieces that were not offered since the peer waited to be read; a loop that was told EAGAIN offers it again."""
    return end['net.withdrawn'] + end['net.ties'] - end['net.asides']


def check_steady(name, ends, payload, late):
    """Every payload goes from tensor to tensor. Of two ranks each sends half of the tensor as parts of the sum and the other half as the
    sum, in two pieces each; emulation may be so slow that an offer is taken back, whose piece then goes another way, and some pieces after
    it, for which less is offered. late: of how many offers of each end that may be so yet."""
    for end, peer, owed in zip(ends, ends[::-1], late[::-1]):
        direct = end['rdma.bytes_direct']
        assert direct == payload or direct < payload and (taken_back(peer) or owed), (name, end, peer)


def check_sums(spent, payloads, buckets):
    """Half of the payload, however slow emulation is, and registrations stop."""
    both = [[spent[name][end] for name in payloads] for end in range(2)]
    back = sum(taken_back(phase) for end in both for phase in end)
    for end in both:
        direct, new = (sum(phase[counter] for phase in end) for counter in ('rdma.bytes_direct', 'rdma.registrations'))
        assert direct >= sum(payloads.values()) / 2, (end, payloads)
        assert new <= SCRATCH * buckets + LEFT * back, (end, back)
        print(f'ok {", ".join(payloads)}: {direct} of {sum(payloads.values())} bytes straight, {new} registrations, {back} offers taken back')


def check(spent, payloads, buckets=1):
    """payloads: {phase: how much of it each end sends}, of those in which nothing is new."""
    late = 0, 0
    for name, ends in spent.items():
        if name in payloads:
            check_steady(name, ends, payloads[name], late)
        late = [taken_back(end) for end in ends]
    if spent:
        check_sums(spent, payloads, buckets)


def compare(a, b, python, program, ports, args, names, steps=()):
    """Bare and with the library, whose output must be the same; what the phases cost, and the output."""
    before = sent(a)
    bare = outcome(start(a, b, python, program, ports[0], *steps))
    assert sent(a) - before > 10 * 262144 * 4, 'the tensors did not cross the wire'
    print('ok bare:', bare)
    if not args.preload:
        return {}, bare
    folder = f'{COUNTERS}/{program}'
    a.run(f'mkdir -p -m 700 {COUNTERS}; mkdir -m 700 {folder}')
    env = {'DLACCEL_DIR': folder, **dict(pair.split('=', 1) for pair in args.variables)}
    jobs = start(a, b, python, program, ports[1], *steps, *([folder] if args.tool else []), preload=args.preload, env=env)
    spent = walk(a, b, args.tool, folder, jobs, names) if args.tool else {}
    got = [line for line in outcome(jobs).splitlines() if line not in names]
    assert got == [bare], (got, bare)
    print('ok preloaded')
    return spent, bare


def all_reduce(a, b, python, args):
    spent, _ = compare(a, b, python, 'net_allreduce.py', ('29500', '29501'), args, PHASES)
    for phases in STEADY:
        check(spent, {name: 4 * rounds * elements for name, (rounds, elements) in phases.items()})


def training(a, b, python, args):
    stops = [*range(EACH), STEPS - 1]
    spent, said = compare(a, b, python, 'net_ddp.py', ('29502', '29503'), args, [f'step {i}' for i in stops], [STEPS])
    buckets = said.rpartition(' then ')[2].split(',')
    payload = sum(map(int, buckets))
    check(spent, {f'step {i}': (i - before) * payload for before, i in zip(stops, stops[1:]) if i >= SETTLED}, len(buckets))


def body(args):
    python = hosts.interpreter('torch')
    with hosts.near('pytorch', mem=2048, binds=[os.path.dirname(python)]) as (a, b):
        all_reduce(a, b, python, args)
        training(a, b, python, args)


parser = argparse.ArgumentParser()
parser.add_argument('--preload')
parser.add_argument('--tool')
parser.add_argument('variables', nargs='*')
arguments = parser.parse_args()
vhost.main(lambda: body(arguments))
