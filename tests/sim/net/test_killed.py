"""SIGKILL where TCP's outcome is determined: with something unread at the dead end, at the survivor, at both, at neither. The survivor
of a stream that RDMA carries reads and is told what a bare one is.

    test_killed.py --preload LIBRARY --tool DLACCEL

Without spins: what a killed receiver had been sent without a doorbell, because it polled, is the known exception (rdma/README).
"""
import itertools
import sys

import hosts
import streams
import vhost
from test_rdma import counters

KILLED = str(vhost.HERE / 'net_killed.py')
PORTS = itertools.count(7650)
SETTINGS = {'DLACCEL_NET_THRESHOLD': '2K', 'DLACCEL_LOG': 'info', 'DLACCEL_SPIN': '0', **streams.PATIENT}
SMALL, RING = 1000, 40000    # by a frame on TCP; by the ring
SCENES = {    # bytes unread at the survivor, at the killed end; how the survivor's reading ends
    'nothing unread': (0, 0, 'end'),
    'survivor behind': (RING, 0, 'end'),
    'killed one behind a frame': (0, SMALL, 'ECONNRESET'),
    'killed one behind the ring': (0, RING, 'ECONNRESET'),
    'both behind': (RING, RING, 'ECONNRESET'),
}


class Stream:
    def __init__(self, a, b, owed, left, name, preload=None):
        self.a, self.folder, port = a, f'/tmp/counters/{name}', str(next(PORTS))
        a.run(f'mkdir -p -m 700 /tmp/counters; mkdir -m 700 {self.folder}')
        kw = {'preload': preload, 'env': {**SETTINGS, 'DLACCEL_DIR': self.folder}}
        self.server = b.spawn([sys.executable, KILLED, 'serve', b.addr, port, owed], **kw)
        self.server.expect('listening', 300)
        self.client = a.spawn([sys.executable, KILLED, 'talk', b.addr, port, a.addr, owed, left, self.folder], **kw)

    def said(self):
        return self.client.describe('survivor') + self.a.run(f'cat {self.folder}/log', check=False).out

    def by_rdma(self, tool):
        """Both ends' counters once each has sent by RDMA."""
        if self.a.run(f'ls {self.folder}/*.stats', check=False).rc:
            return None
        ends = [c for c in counters(self.a, tool, self.folder) if c.get('net.bytes_verbs')]
        return ends if len(ends) == 2 else None

    def kill(self):
        """What the survivor says of it."""
        self.a.run(f'touch {self.folder}/go')
        self.client.expect('^ready$', 300)
        self.server.kill('KILL', 300)
        self.a.run(f'touch {self.folder}/dead')
        done = self.client.wait(300)
        assert done.rc == 0, self.said()
        return done.out


def scene(a, b, args, number, name):
    owed, left, ends_with = SCENES[name]
    bare = Stream(a, b, owed, left, f'bare{number}').kill()
    assert f'read: {owed} bytes, {ends_with}\n' in bare, (name, bare)
    ours = Stream(a, b, owed, left, f'ours{number}', args.preload)
    vhost.wait_until(lambda: ours.by_rdma(args.tool), 300, f'{name}: RDMA')
    got = ours.kill()
    assert got == bare, (name, bare, ours.said())
    ends = ours.by_rdma(args.tool)
    assert not any(c.get('net.violations') or c.get('rdma.fallback.silent') for c in ends), ends
    print(f'ok {name}: {", ".join(got.splitlines()[1:])}')


def body(args):
    with hosts.near('killed', smp=1) as (a, b):
        for number, name in enumerate(SCENES):
            scene(a, b, args, number, name)


if __name__ == '__main__':
    vhost.main_preloaded(body)
