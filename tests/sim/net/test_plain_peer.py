"""A peer without the library: until the program's first byte has gone the client makes no call that waits but those of a bare one, and
the wire carries the packets of a bare one; later RDMA is tried, and nothing of that is in the stream.

    test_plain_peer.py --preload LIBRARY --tool DLACCEL
"""
import itertools
import os
import re
import sys

import counts
import hosts
import vhost
from test_rdma import counters

FIRST = str(vhost.HERE / 'net_first.py')
PORTS = itertools.count(7600)
FOLDER = '/tmp/counters'
ENTER = re.compile(r'\( *(\d+)\) .* sys_enter: NR (\d+) ')
PACKET = re.compile(r' net_dev_start_xmit: dev=(v[ab]) .* len=(\d+) ')
PAYLOAD = 1000    # of the first send, as in net_first.py
OURS = {'getsockopt', 'getpid', 'fcntl', 'mmap'}    # they ask this host's kernel, and wait for nobody
WAITS = {'poll', 'ppoll', 'select', 'pselect6', 'epoll_wait', 'epoll_pwait', 'recvfrom', 'recvmsg', 'nanosleep', 'clock_nanosleep'}


def trace(host):
    counts.trace_calls(host, os.path.basename(sys.executable)[:15])    # as the kernel calls it
    host.run(f'''cd {counts.TRACING}/events/net/net_dev_start_xmit
                 echo 'protocol == 0x0800' > filter; echo 1 > enable''')


def first_steps(text, client, names):
    """The client's calls from its mark up to its first send, and the packets of that time, the first with payload being the last. Each
    packet counts once: where emulation stalls the kernel repeats one."""
    calls, packets, marked = [], {}, False
    for line in text.splitlines():
        if (m := ENTER.search(line)) and int(m[1]) == client and 'sendto' not in calls:
            calls += [names[int(m[2])]] if marked else []
            marked |= names[int(m[2])] == 'getppid'
        elif marked and (m := PACKET.search(line)):
            packets[m[1], int(m[2])] = True
            if int(m[2]) > PAYLOAD:
                return calls, list(packets)
    raise AssertionError('no packet with payload in the trace')


class Talk:
    """One conversation; the server is bare, the client has what `kw` says."""

    def __init__(self, a, b, **kw):
        self.a, self.file, port = a, f'{FOLDER}/end', str(next(PORTS))
        a.run(f'rm -rf {FOLDER}; mkdir -m 700 {FOLDER}')
        self.server = b.spawn([sys.executable, FIRST, 'serve', b.addr, port])
        self.server.expect('listening', 300)
        trace(a)
        self.client = a.spawn([sys.executable, FIRST, 'talk', b.addr, port, a.addr, self.file], **kw)

    def end(self):
        """What the first steps were; both ends must have seen the same bytes."""
        self.a.run(f'touch {self.file}')
        sent, got = (job.wait(300) for job in (self.client, self.server))
        assert sent.rc == got.rc == 0, (sent, got)
        assert got.out == 'listening\n' + sent.out and sent.out, (sent, got)
        pid = int(self.client.read('pid'))
        return first_steps(counts.stop_trace(self.a), pid, counts.call_names())


def tried(a, tool):
    found = [c for c in counters(a, tool, FOLDER) if c.get('rdma.meetings')]
    return found[0] if found else None


def preloaded(a, b, args, threshold):
    env = {'DLACCEL_DIR': FOLDER, 'DLACCEL_NET_THRESHOLD': threshold}
    talk = Talk(a, b, preload=args.preload, env=env)
    vhost.wait_until(lambda: a.run(f'ls {FOLDER}/*.stats', check=False).rc == 0 and tried(a, args.tool), 300, 'RDMA tried')
    steps = talk.end()
    end = tried(a, args.tool)
    assert end['rdma.meetings'] == 1 and not end.get('net.upgraded') and not end.get('net.violations'), end
    return steps


def body(args):
    with hosts.near('plain-peer') as (a, b):
        bare_calls, bare_packets = Talk(a, b).end()
        assert bare_calls == ['connect', 'sendto'], bare_calls
        calls, packets = preloaded(a, b, args, '64K')
        assert [c for c in calls if c not in OURS] == bare_calls and packets == bare_packets, (calls, packets)
        print(f'ok until the first byte: {calls}, {packets}, bare {bare_calls}')
        calls, packets = preloaded(a, b, args, '64')
        assert not WAITS.intersection(calls) and packets == bare_packets, (calls, packets)
        print(f'ok where RDMA is tried from the first byte on: {len(calls)} calls of which none waits, the same packets')


if __name__ == '__main__':
    vhost.main_preloaded(body)
