"""What a message costs between two hosts, ours beside rsockets', alternating in one guest.

    test_counts.py --preload LIBRARY --tool DLACCEL [--cpus N] [--rounds N] [VARIABLE=VALUE...]

Of 64 B there and back, both programs asleep in between, on a new connection and on one that has carried large messages, and of 64 KiB and 1 MiB one way ours must be less in each column, both ends
together; and where ten of 1 MiB have gone before, neither end copies any, but those that emulation was too slow for: which of them posts a receive, arms a queue or waits differs from one design to the other, and from run to run. The variables
are ours, DLACCEL_SPIN=2ms for a receiver that polls for longer; with any, 64 B are printed only: who polls comes to frames.
"""
import argparse
import collections
import itertools
import statistics

import counts
import hosts
import streams
import vhost
from test_rdma import COUNTERS, counters

WORK = (('pingpong', 64, 1000), ('after', 64, 1000), ('oneway', 65536, 100), ('oneway', 1 << 20, 16), ('learned', 1 << 20, 16))
HEADS = .001    # of a copy
BEHIND = 9      # messages that an offer is taken back for, and those behind it that are not offered
RUNS = itertools.count(1)


def count(a, b, tool, kind, lib, env, work):
    """The ends' figures for one connection. Ours must have had RDMA from its warming up to its end."""
    verb, size, number = work
    folder = f'{COUNTERS}/{next(RUNS)}'
    a.run(f'mkdir -p -m 700 {COUNTERS}; mkdir -m 700 {folder}')
    ends, packets = counts.per_message(a, b, lib, {**env, 'DLACCEL_DIR': folder}, verb, size, number)
    assert size == 64 or packets > size / 9000, f'{kind}: {packets} packets a message: not by RDMA'
    if kind == 'dlaccel':
        said = sum(map(collections.Counter, counters(a, tool, folder)), collections.Counter())
        assert said['net.upgraded.verbs'] == 2 and not said['rdma.failovers'], said
        if verb == 'learned':
            check_learned(ends, said, number)
    return ends


def check_learned(ends, said, number):
    for words, _ in ends:
        assert words['copies'] < HEADS + said['net.withdrawn'] * BEHIND / number, (ends, said)


def show(kind, verb, size, runs):
    """Medians of the rounds, client + server = both; least and most of both; and what the calls and doorbells of each were."""
    print(f'{kind}, {size} B {verb}:')
    for word in counts.WORDS:
        ends = [[end[word] for end, _ in ends] for ends in runs]
        client, server = (statistics.median(side) for side in zip(*ends))
        sums = [sum(pair) for pair in ends]
        print(f'    {word:12} {client:6.2f} + {server:5.2f} = {statistics.median(sums):6.2f} [{min(sums):.2f}, {max(sums):.2f}]')
    for i, end in enumerate(('client', 'server')):
        print(f'    {end}: ' + ', '.join(f'{k} {v:.2f}' for k, v in runs[-1][i][1].items()))


def both(runs, word):
    return statistics.median(sum(end[word] for end, _ in ends) for ends in runs)


def body(args):
    got, ours = collections.defaultdict(list), dict(pair.split('=', 1) for pair in args.variables)
    kinds = {'rsockets': (streams.librspreload(), {}), 'dlaccel': (args.preload, {**streams.PATIENT, **ours})}
    assert kinds['rsockets'][0], 'librspreload.so is not installed (package librdmacm1)'
    with hosts.near('counts', smp=args.cpus) as (a, b):
        for _ in range(args.rounds):
            for work in WORK:
                for kind, (lib, env) in kinds.items():
                    got[(kind, *work[:2])].append(count(a, b, args.tool, kind, lib, env, work))
    for what, runs in got.items():
        show(*what, runs)
    held = [work for work in WORK if not ours or work[1] > 64]
    for verb, size, _ in held:
        for word in counts.WORDS:
            theirs, our = (both(got[kind, verb, size], word) for kind in kinds)
            assert our < theirs, f'{size} B {verb}, {word}: {our:.2f}, of rsockets {theirs:.2f}'
    print(f'ok {", ".join(f"{size} B {verb}" for verb, size, _ in held)}: less of everything')


parser = argparse.ArgumentParser()
parser.add_argument('--preload', required=True)
parser.add_argument('--tool', required=True)
parser.add_argument('--cpus', type=int, default=2)
parser.add_argument('--rounds', type=int, default=1)
parser.add_argument('variables', nargs='*')
arguments = parser.parse_args()
vhost.main(lambda: body(arguments))
