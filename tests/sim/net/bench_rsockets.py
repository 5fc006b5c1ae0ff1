"""TCP, rsockets' preload and, where given, our library: the same program, alternating in one run.

    bench_rsockets.py [--dlaccel LIBRARY] [--rounds N] [--styles] [VARIABLE=VALUE...]

Times inside an emulated guest say nothing of hardware; they are printed because they can be
compared within a run. The counts are the figures to hold: system calls of each end between its two marks,
and RDMA packets, per message. A write
to a verbs device is a doorbell, and a read from its completion channel a wake-up. --styles says
besides which styles of prog_stream run under each preload.
"""
import argparse
import collections
import itertools
import json
import re
import statistics

import hosts
import streams
import vhost

PORTS = itertools.count(7500)
WORK = (('pingpong', 64, 400), ('oneway', 65536, 100), ('oneway', 1 << 20, 8))
TRACED = (('pingpong', 64, 100), ('oneway', 65536, 40), ('oneway', 1 << 20, 8))


def once(a, b, lib, env, verb, size, count, traced=False):
    """The client's figures, and with traced both ends' system calls {name: count}."""
    port = next(PORTS)
    prog = hosts.program('prog_bench')
    logs = [f'/tmp/strace.{port}.{end}' for end in 'ab']

    def command(end, *argv):
        if not traced:
            return [prog, *argv]
        sets = [f'LD_PRELOAD={lib}'] if lib else []
        more = [x for kv in sets for x in ('-E', kv)]
        return ['strace', '-f', '-o', logs[end], *more, prog, *argv]
    preload = None if traced else lib
    server = b.spawn(command(1, 'serve', b.addr, port), preload=preload, env=env)
    server.expect('listening')
    client = a.run(command(0, verb, b.addr, port, size, count, a.addr), 300, preload=preload,
                   env=env)
    assert server.wait(60).rc == 0, server.err
    calls = [syscalls(h.run(['cat', log]).out) for h, log in zip((a, b), logs)] if traced else None
    return json.loads(client.out), calls


def syscalls(trace):
    """{name: count} of what strace -f saw between the first mark and the last."""
    names = re.findall(r'^\d+ +(\w+)\(', trace, re.M)
    first, last = names.index('getppid'), len(names) - names[::-1].index('getppid') - 1
    return collections.Counter(names[first + 1:last])


def per_message(a, b, lib, env, verb, size, count):
    """({call: count per message} of the client, of the server, RDMA packets per message)."""
    before = a.counter('sent_pkts') + b.counter('sent_pkts')
    _, calls = once(a, b, lib, env, verb, size, count, traced=True)
    packets = a.counter('sent_pkts') + b.counter('sent_pkts') - before
    client, server = ({k: n / count for k, n in sorted(end.items()) if n * 20 >= count} for end in calls)
    return client, server, packets / count


def measure(a, b, kinds, env, rounds):
    """{(kind, verb, size): [figures]}, the kinds alternating within each round."""
    got = {}
    for _ in range(rounds):
        for verb, size, count in WORK:
            for kind, lib in kinds.items():
                figures, _ = once(a, b, lib, env, verb, size, count)
                got.setdefault((kind, verb, size), []).append(figures)
    return got


def show_speed(got):
    print(f'{"kind":10} {"work":9} {"size":>8}  median of the rounds [least, most]')
    for (kind, verb, size), rows in got.items():
        unit = 'p50_us' if verb == 'pingpong' else 'mb_s'
        v = [r[unit] for r in rows]
        print(f'{kind:10} {verb:9} {size:8}  {statistics.median(v):9.1f} '
              f'[{min(v):.1f}, {max(v):.1f}] {unit}')


def show_counts(a, b, kinds, env):
    print('\nper message:  system calls of client and server, RDMA packets of both')
    for verb, size, count in TRACED:
        for kind, lib in kinds.items():
            client, server, packets = per_message(a, b, lib, env, verb, size, count)
            print(f'{kind:10} {verb:9} {size:8}  client {sum(client.values()):6.2f}  '
                  f'server {sum(server.values()):6.2f}  packets {packets:7.2f}')
            for end, calls in (('client', client), ('server', server)):
                listed = ', '.join(f'{k} {v:.2f}' for k, v in calls.items())
                print(f'{"":14}{end}: {listed}')


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
        kinds['dlaccel'] = args.dlaccel
    with hosts.near('bench') as (a, b):
        show_speed(measure(a, b, kinds, env, args.rounds))
        show_counts(a, b, kinds, env)
        if args.styles:
            show_styles(a, b, kinds, env)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument('--dlaccel', metavar='LIBRARY')
parser.add_argument('--rounds', type=int, default=3)
parser.add_argument('--styles', action='store_true')
parser.add_argument('variables', nargs='*')
arguments = parser.parse_args()
vhost.main(lambda: body(arguments))
