"""What a message costs, counted: prog_bench between two hosts under a preload.

Per message (of a ping-pong, per round trip): system calls of each end between its two marks, by the kernel's own trace; copies of
each byte, by memcpy and by the kernel to and from a socket; completions that were polled; doorbells, which are posts of sends and of
receives, and armed completion queues; RDMA packets. On soft-RoCE a post of sends and an arming are system calls (write, ioctl) as well.
"""
import collections
import itertools
import json
import re
import subprocess

import hosts

PORTS = itertools.count(7500)
TRACING = '/sys/kernel/tracing'    # the kernel's own: a tracer that stops the program makes every poll fail
CALL = re.compile(r'-(\d+) +\( *(\d+)\) .* sys_(enter|exit): NR (\d+) (?:\((.*)\)|= (-?\d+))$', re.M)
CARRIES = {'sendto': 1, 'recvfrom': 1, 'sendmsg': None, 'recvmsg': None}    # argument that is nowhere: nothing is copied
WORDS = ('calls', 'copies', 'completions', 'doorbells')


def once(a, b, lib, env, verb, size, count):
    port = next(PORTS)
    prog = hosts.program('prog_bench')
    server = b.spawn([prog, 'serve', b.addr, port], preload=lib, env=env)
    server.expect('listening')
    client = a.run([prog, verb, b.addr, port, size, count, a.addr], 300, preload=lib, env=env)
    assert server.wait(60).rc == 0, server.err
    return client, server


def trace_calls(host, program):
    host.run(f"""mountpoint -q {TRACING} || mount -t tracefs tracefs {TRACING}; cd {TRACING}
                 echo 16384 > buffer_size_kb; echo 1 > options/record-tgid; echo > trace
                 for e in enter exit; do
                     echo 'comm == "{program}"' > events/raw_syscalls/sys_$e/filter
                     echo 1 > events/raw_syscalls/sys_$e/enable
                 done; echo 1 > tracing_on""")


def stop_trace(host):
    """What was traced; nothing of it may have been overwritten."""
    out = host.run(f'echo 0 > {TRACING}/tracing_on; cat {TRACING}/trace').out
    kept, written = re.search(r'entries-in-buffer/entries-written: (\d+)/(\d+)', out).groups()
    assert kept == written, f'of {written} entries of the trace {kept} are there'
    return out


def traced_calls(out, names):
    """{process: [(name of the call, bytes that the kernel copied)]} in their order, from the first getppid to the last."""
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
    trace_calls(a, 'prog_bench')
    preload = ':'.join([hosts.program('libcount_verbs.so')] + ([lib] if lib else []))
    jobs = once(a, b, preload, env, verb, size, count)
    calls = traced_calls(stop_trace(a), call_names())
    packets = a.counter('sent_pkts') + b.counter('sent_pkts') - before
    server, client = sorted(calls)
    ends = [figures(calls[process], job, size, count) for process, job in zip((client, server), jobs)]
    return ends, packets / count
