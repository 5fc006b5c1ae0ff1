"""TCP, rsockets' preload and, where given, our library: the same program, alternating in one run.

    bench_rsockets.py [--dlaccel LIBRARY] [--rounds N] [--styles] [VARIABLE=VALUE...]

Times inside an emulated guest say nothing of hardware; they are printed because they can be
compared within a run. The counts are the figures to hold: system calls of each end between its two marks,
by the kernel's own trace, and RDMA packets, per message. A write
to a verbs device is a doorbell, and a read from its completion channel a wake-up. --styles says
besides which styles of prog_stream run under each preload.
"""
import argparse
import collections
import itertools
import json
import os
import re
import statistics
import subprocess

import hosts
import streams
import vhost

PORTS = itertools.count(7500)
WORK = (('pingpong', 64, 400), ('oneway', 65536, 100), ('oneway', 1 << 20, 8))
TRACED = (('pingpong', 64, 4000), ('oneway', 65536, 40), ('oneway', 1 << 20, 8))


def once(a, b, lib, env, verb, size, count):
    port = next(PORTS)
    prog = hosts.program('prog_bench')
    server = b.spawn([prog, 'serve', b.addr, port], preload=lib, env=env)
    server.expect('listening')
    client = a.run([prog, verb, b.addr, port, size, count, a.addr], 300, preload=lib, env=env)
    assert server.wait(60).rc == 0, server.err
    return json.loads(client.out)


TRACING = '/sys/kernel/tracing'    # the kernel's own: a tracer that stops the program makes every poll fail


def trace_calls(host):
    host.run(f"""mountpoint -q {TRACING} || mount -t tracefs tracefs {TRACING}; cd {TRACING}
                 echo 8192 > buffer_size_kb; echo 1 > options/record-tgid; echo > trace
                 echo 'comm == "prog_bench"' > events/raw_syscalls/sys_enter/filter
                 echo 1 > events/raw_syscalls/sys_enter/enable; echo 1 > tracing_on""")


def traced_calls(host):
    """[(process, number of the call)] in their order."""
    out = host.run(f'echo 0 > {TRACING}/tracing_on; cat {TRACING}/trace').out
    return [(int(m[1]), int(m[2])) for m in re.finditer(r'\( *(\d+)\) .* sys_enter: NR (\d+) ', out)]


def call_names():
    """{number: name}, as this machine's headers have them."""
    listed = subprocess.run(['cpp', '-dM', '-include', 'sys/syscall.h', '/dev/null'], check=True,
                            capture_output=True, text=True).stdout
    return {int(n): name for name, n in re.findall(r'#define __NR_(\w+) (\d+)$', listed, re.M)}


def between_marks(calls, names):
    """{name: count} of what one process called between its first getppid and its last."""
    called = [names[n] for n in calls]
    first, last = called.index('getppid'), len(called) - called[::-1].index('getppid') - 1
    return collections.Counter(called[first + 1:last])


def per_message(a, b, lib, env, verb, size, count):
    """({call: count per message} of the client, of the server, RDMA packets per message)."""
    before = a.counter('sent_pkts') + b.counter('sent_pkts')
    trace_calls(a)
    once(a, b, lib, env, verb, size, count)
    calls, names = traced_calls(a), call_names()
    packets = a.counter('sent_pkts') + b.counter('sent_pkts') - before
    processes = sorted({tgid for tgid, nr in calls if names[nr] == 'getppid'})
    server, client = (between_marks([nr for t, nr in calls if t == tgid], names) for tgid in processes)
    client, server = ({k: n / count for k, n in sorted(end.items()) if n * 20 >= count}
                      for end in (client, server))
    return client, server, packets / count


def measure(a, b, kinds, env, rounds):
    """{(kind, verb, size): [figures]}, the kinds alternating within each round."""
    got = {}
    for _ in range(rounds):
        for verb, size, count in WORK:
            for kind, lib in kinds.items():
                figures = once(a, b, lib, env, verb, size, count)
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
        kinds['dlaccel'] = os.path.abspath(args.dlaccel)
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
