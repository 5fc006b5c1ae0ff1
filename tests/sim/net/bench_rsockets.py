"""TCP, rsockets' preload and, where given, our library: the same program, alternating in one run.

    bench_rsockets.py [--dlaccel LIBRARY] [--rounds N] [--styles] [VARIABLE=VALUE...]

Times inside an emulated guest say nothing of hardware; they are printed because they can be
compared within a run. The counts are the figures to hold, per message (of a ping-pong, per round trip): system calls of each end
between its two marks, by the kernel's own trace; copies of each byte, by memcpy and by the kernel to and from a socket;
completions that were polled; doorbells, which are posts of sends and of receives, and armed completion queues; RDMA packets.
On soft-RoCE a post of sends and an arming are system calls (write, ioctl) as well.
--counts leaves the times out. --styles says besides which styles of prog_stream run under each preload.
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
TRACED = (('pingpong', 64, 1000), ('oneway', 65536, 100), ('oneway', 1 << 20, 16))


def once(a, b, lib, env, verb, size, count):
    port = next(PORTS)
    prog = hosts.program('prog_bench')
    server = b.spawn([prog, 'serve', b.addr, port], preload=lib, env=env)
    server.expect('listening')
    client = a.run([prog, verb, b.addr, port, size, count, a.addr], 300, preload=lib, env=env)
    assert server.wait(60).rc == 0, server.err
    return client, server


TRACING = '/sys/kernel/tracing'    # the kernel's own: a tracer that stops the program makes every poll fail
CALL = re.compile(r'-(\d+) +\( *(\d+)\) .* sys_(enter|exit): NR (\d+) (?:\((.*)\)|= (-?\d+))$', re.M)
CARRIES = {'sendto': 1, 'recvfrom': 1, 'sendmsg': None, 'recvmsg': None}    # argument that is nowhere: nothing is copied
WORDS = ('calls', 'copies', 'completions', 'doorbells')


def trace_calls(host):
    host.run(f"""mountpoint -q {TRACING} || mount -t tracefs tracefs {TRACING}; cd {TRACING}
                 echo 16384 > buffer_size_kb; echo 1 > options/record-tgid; echo > trace
                 for e in enter exit; do
                     echo 'comm == "prog_bench"' > events/raw_syscalls/sys_$e/filter
                     echo 1 > events/raw_syscalls/sys_$e/enable
                 done; echo 1 > tracing_on""")


def traced_calls(host, names):
    """{process: [(name of the call, bytes that the kernel copied)]} in their order, from the first getppid to the last."""
    out = host.run(f'echo 0 > {TRACING}/tracing_on; cat {TRACING}/trace').out
    calls, under_way = collections.defaultdict(list), {}
    for thread, process, what, number, arguments, result in CALL.findall(out):
        name = names[int(number)]
        if what == 'enter':
            under_way[thread] = [name, 0, arguments.split(', ')]
            calls[int(process)].append(under_way[thread])
        elif thread in under_way and name in CARRIES and int(result) > 0:
            call, at = under_way[thread], CARRIES[name]
            call[1] = int(result) if at is None or int(call[2][at], 16) else 0
    return {process: between_marks(made) for process, made in calls.items()}


def call_names():
    """{number: name}, as this machine's headers have them."""
    listed = subprocess.run(['cpp', '-dM', '-include', 'sys/syscall.h', '/dev/null'], check=True,
                            capture_output=True, text=True).stdout
    return {int(n): name for name, n in re.findall(r'#define __NR_(\w+) (\d+)$', listed, re.M)}


def between_marks(calls):
    names = [name for name, _, _ in calls]
    first, last = names.index('getppid'), len(names) - names[::-1].index('getppid') - 1
    return [(name, copied) for name, copied, _ in calls[first + 1:last]]


def figures(calls, job, size, count):
    """What one end did for a message, {word: figure}; and of what its system calls were."""
    said = re.findall(r'^counted (.*)$', job.err, re.M)
    done = json.loads(said[-1])
    copied = done['copied'] + sum(n for _, n in calls)
    doorbells = done['sends'] + done['receives'] + done['arms']
    listed = collections.Counter(name for name, _ in calls)
    words = dict(zip(WORDS, (len(calls) / count, copied / size / count, done['completions'] / count,
                             doorbells / count)))
    parts = {k: done[k] / count for k in ('sends', 'receives', 'arms')}
    parts |= {k: n / count for k, n in sorted(listed.items()) if n * 20 >= count}
    return words, parts


def per_message(a, b, lib, env, verb, size, count):
    """[(figures, parts)] of the client and of the server, RDMA packets per message."""
    before = a.counter('sent_pkts') + b.counter('sent_pkts')
    trace_calls(a)
    preload = ':'.join([hosts.program('libcount_verbs.so')] + ([lib] if lib else []))
    jobs = once(a, b, preload, env, verb, size, count)
    calls = traced_calls(a, call_names())
    packets = a.counter('sent_pkts') + b.counter('sent_pkts') - before
    server, client = sorted(calls)
    ends = [figures(calls[process], job, size, count) for process, job in zip((client, server), jobs)]
    return ends, packets / count


def measure(a, b, kinds, env, rounds):
    """{(kind, verb, size): [figures]}, the kinds alternating within each round."""
    got = {}
    for _ in range(rounds):
        for verb, size, count in WORK:
            for kind, lib in kinds.items():
                client, _ = once(a, b, lib, env, verb, size, count)
                got.setdefault((kind, verb, size), []).append(json.loads(client.out))
    return got


def show_speed(got):
    print(f'{"kind":10} {"work":9} {"size":>8}  median of the rounds [least, most]')
    for (kind, verb, size), rows in got.items():
        unit = 'p50_us' if verb == 'pingpong' else 'mb_s'
        v = [r[unit] for r in rows]
        print(f'{kind:10} {verb:9} {size:8}  {statistics.median(v):9.1f} '
              f'[{min(v):.1f}, {max(v):.1f}] {unit}')


def show_counts(a, b, kinds, env):
    print('\nper message: client + server = both')
    print(f'{"kind":9} {"work":8} {"size":>7} ' + ''.join(f'{w:>22}' for w in WORDS) + '   packets')
    for verb, size, count in TRACED:
        for kind, lib in kinds.items():
            ends, packets = per_message(a, b, lib, env, verb, size, count)
            (client, _), (server, _) = ends
            columns = ''.join(f'{client[w]:6.2f} +{server[w]:6.2f} ={client[w] + server[w]:6.2f}' for w in WORDS)
            print(f'{kind:9} {verb:8} {size:7} {columns} {packets:9.2f}')
            for end, (_, parts) in zip(('client', 'server'), ends):
                print(f'{"":10}{end}: ' + ', '.join(f'{k} {v:.2f}' for k, v in parts.items()))


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
        if not args.counts:
            show_speed(measure(a, b, kinds, env, args.rounds))
        show_counts(a, b, kinds, env)
        if args.styles:
            show_styles(a, b, kinds, env)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument('--dlaccel', metavar='LIBRARY')
parser.add_argument('--rounds', type=int, default=3)
parser.add_argument('--counts', action='store_true')
parser.add_argument('--styles', action='store_true')
parser.add_argument('variables', nargs='*')
arguments = parser.parse_args()
vhost.main(lambda: body(arguments))
