"""Times of TCP, rsockets' preload and, where given, our library: the same program, alternating in one run.

    bench_rsockets.py [--dlaccel LIBRARY] [--rounds N] [--styles] [VARIABLE=VALUE...]

Times inside an emulated guest say nothing of hardware; they are printed because they can be compared within a run. What can be held
is what a message costs: test_counts.py. --styles says besides which styles of prog_stream run under each preload.
"""
import argparse
import json
import os
import statistics

import counts
import hosts
import streams
import vhost

WORK = (('pingpong', 64, 400), ('oneway', 65536, 100), ('oneway', 1 << 20, 8))


def measure(a, b, kinds, env, rounds):
    """{(kind, verb, size): [figures]}, the kinds alternating within each round."""
    got = {}
    for _ in range(rounds):
        for verb, size, count in WORK:
            for kind, lib in kinds.items():
                client, _ = counts.once(a, b, lib, env, verb, size, count)
                got.setdefault((kind, verb, size), []).append(json.loads(client.out))
    return got


def show_speed(got):
    print(f'{"kind":10} {"work":9} {"size":>8}  median of the rounds [least, most]')
    for (kind, verb, size), rows in got.items():
        unit = 'p50_us' if verb == 'pingpong' else 'mb_s'
        v = [r[unit] for r in rows]
        print(f'{kind:10} {verb:9} {size:8}  {statistics.median(v):9.1f} '
              f'[{min(v):.1f}, {max(v):.1f}] {unit}')


def show_styles(a, b, kinds, env):
    print('\nstyles of prog_stream')
    for style in streams.all_styles(a):
        words = [streams.verdict(a, b, style, preload=(lib, lib), env=env, limit=40) or 'ok'
                 for lib in kinds.values()]
        print(f'{style:15} ' + ' | '.join(f'{k}: {w}' for k, w in zip(kinds, words)))


def body(args):
    env = dict(pair.split('=', 1) for pair in args.variables)
    kinds = {'tcp': None, 'rsockets': streams.librspreload()}
    assert kinds['rsockets'], 'librspreload.so is not installed (package librdmacm1)'
    if args.dlaccel:
        kinds['dlaccel'] = os.path.abspath(args.dlaccel)
    with hosts.near('bench') as (a, b):
        show_speed(measure(a, b, kinds, env, args.rounds))
        if args.styles:
            show_styles(a, b, kinds, env)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument('--dlaccel', metavar='LIBRARY')
parser.add_argument('--rounds', type=int, default=3)
parser.add_argument('--styles', action='store_true')
parser.add_argument('variables', nargs='*')
arguments = parser.parse_args()
vhost.main(lambda: body(arguments))
