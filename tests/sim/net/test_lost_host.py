"""The other host is frozen for a while, is reset, or dies, under a stream that uses RDMA: it shows what a bare stream beside
it shows, by IPv4 and by IPv6. Two guests of one virtual CPU; the streams are the survivor's.

    test_lost_host.py --preload LIBRARY --tool DLACCEL [--seeds FIRST:LAST]

Seeds choose how the survivor of a reset uses its socket, over which addresses, and how many bytes have gone by RDMA when it comes: it
has called and sends, or both; or it has accepted and receives, with SO_KEEPALIVE, without which TCP would never tell it, or both.
"""
import itertools
import random
import shlex

import hosts
import streams
import vhost
from test_rdma import counters_script, parse_counters

ENDLESS = 10 ** 12
FAMILIES = 'IPv4', 'IPv6'    # as in a host's addrs
SIZES = 20000000, 60000000, 180000000    # until a pause; opening rdma-core takes as long as some of it
SETTINGS = {'DLACCEL_NET_THRESHOLD': '2K', 'DLACCEL_LOG': 'info', 'DLACCEL_RDMA_DEAD': '3s', 'DLACCEL_RDMA_IDLE': '6s'}
MOVING = 200000          # bytes by RDMA, so that it is the stream's way
FURTHER = 50 * MOVING    # no more of them until the reset, as far as one can look
RESET_UNDER = {    # one thread each: of two, either may hear of it first
    'talks': ('large', 'both_ways', 'dontwait', 'poll', 'writev'),
    'serves': ('keepalive', 'keepalive_epoll', 'both_ways')}
LIMIT = 240              # a rebooted host is asked again when the retransmission timer says so
RUNS = itertools.count(1)


class Stream:
    """prog_stream from a to an address of b, or where a serves from b to a; with the library: until RDMA carries it. a survives."""

    def __init__(self, a, b, family, style, size, args=None, role='talks'):
        self.a, self.style, self.role, self.tool = a, style, role, args and args.tool
        self.folder = f'/tmp/counters/{next(RUNS)}'
        for host in (a, b):
            host.run(f'mkdir -p -m 700 /tmp/counters; mkdir -m 700 {self.folder}')
        env = {**SETTINGS, 'DLACCEL_DIR': self.folder}
        self.port = str(next(streams.PORTS))
        prog, common = hosts.program('prog_stream'), ['-n', str(size), '-f', style]
        preload = args and args.preload
        caller, called = (a, b) if role == 'talks' else (b, a)
        at = called.addrs[FAMILIES.index(family)]
        self.server = called.spawn([prog, 'serve', at, self.port, *common], preload=preload, env=env)
        self.server.expect('listening')
        talk = ['env', *([f'LD_PRELOAD={preload}'] if preload else []), prog, 'talk', at, self.port, *common]
        self.client = caller.spawn(f'mkfifo {self.folder}/go; exec {shlex.join(talk)} 0<>{self.folder}/go', env=env)
        self.survivor = self.client if role == 'talks' else self.server

    def counters(self):
        """The survivor's."""
        script = counters_script(self.tool, self.folder)
        found = parse_counters(self.a.run(script, LIMIT, check=False).out)
        return found[0] if found else {}

    def by_rdma(self):
        """Bytes, in both directions."""
        counts = self.counters()
        return counts.get('net.bytes_verbs', 0) + counts.get('net.recv_verbs', 0)

    def wait_for(self, number, value, what):
        vhost.wait_until(lambda: number() >= value or self.survivor.rc is not None, LIMIT, what)

    def carried(self, more):
        """Until RDMA has so many more bytes behind it."""
        self.wait_for(self.by_rdma, self.by_rdma() + more, 'bytes by RDMA')

    def said(self):
        log = self.a.run(f'cat {self.folder}/log', check=False).out
        return f'{self.survivor.describe(self.style)}\n{log}'

    def error(self):
        """What the survivor's call ended with."""
        got = self.survivor.wait(LIMIT)
        assert got.rc == 1 and got.err.startswith(f'FAIL {self.style}: '), self.said()
        return got.err.strip().rpartition(': ')[2]


def start(a, b, family, style, args, role='talks'):
    """An endless stream with the library that RDMA carries, and a bare one."""
    ours = Stream(a, b, family, style, ENDLESS, args, role)
    ours.carried(MOVING)
    bare = Stream(a, b, family, style, ENDLESS, role=role)
    a.run(f'until ss -Htn state established "( dport = :{bare.port} or sport = :{bare.port} )" | grep -q .; do sleep .1; done')
    assert not ours.counters().get('rdma.failovers'), ours.said()
    return bare, ours


def compare(name, bare, ours):
    wanted, got = bare.error(), ours.error()
    assert got == wanted, (name, wanted, ours.said())
    counts = ours.counters()
    assert ours.by_rdma() >= MOVING and not counts.get('net.violations'), counts
    print(f'ok {name} after {ours.by_rdma()} bytes by RDMA, {ours.role}, {ours.style}: {got}, '
          f'{counts.get("rdma.failovers", 0)} directions went on over TCP until then')
    return counts


def paused(a, b, family, args):
    """A stream with the library, in a pause to which RDMA has carried it, and a bare one."""
    for size in SIZES:
        ours = Stream(a, b, family, 'pause', size, args)
        ours.client.expect('paused', LIMIT, 'stderr')
        counts = ours.counters()
        if counts.get('net.bytes_verbs', 0) >= MOVING and not counts.get('rdma.failovers'):
            bare = Stream(a, b, family, 'pause', size)
            bare.client.expect('paused', LIMIT, 'stderr')
            return bare, ours
        for job in ours.client, ours.server:
            job.signal('KILL')    # not waited for: soft-RoCE (6.1) waits for queue pairs of which a packet has not been freed yet
    raise AssertionError('RDMA is not used: ' + ours.said())


def frozen_under(a, b, family, args):
    """Longer than the setting: a false alarm, counted; the stream goes on over TCP when it is back."""
    bare, ours = paused(a, b, family, args)
    b.guest.freeze()
    a.run(f'echo >{bare.folder}/go; echo >{ours.folder}/go')
    ours.wait_for(lambda: ours.counters().get('rdma.failovers', 0), 1, 'failover')
    b.guest.thaw()
    want, got = ([end.wait(LIMIT) for end in (stream.client, stream.server)] for stream in (bare, ours))
    assert not streams.complaint(*want) and not streams.complaint(*got), (want, ours.said())
    assert [r.out for r in got] == [r.out for r in want], (got, want)
    assert ours.counters()['rdma.failovers'], ours.said()
    print(f'ok frozen, {family}, {ours.style}: {got[0].out.strip()}')


def frozen(a, b, args):
    for family in FAMILIES:
        frozen_under(a, b, family, args)


def reset(a, b, args):
    """The failover seeds' last kind; test_failover has those that need one guest."""
    for seed in range(*map(int, args.seeds.split(':'))):
        dice = random.Random(seed)
        family, role = FAMILIES[seed % 2], ('talks', 'serves')[seed // 2 % 2]
        bare, ours = start(a, b, family, dice.choice(RESET_UNDER[role]), args, role)
        ours.carried(dice.randrange(FURTHER))
        b.guest.reset()
        hosts.wire(b.guest, *b.addrs)
        compare(f'{seed}: reset, {family},', bare, ours)


def dead(a, b, args):
    under = {family: start(a, b, family, 'both_ways', args) for family in FAMILIES}
    a.run('sysctl -qw net.ipv4.tcp_retries2=4')    # minutes, otherwise
    b.guest.die()
    for family, streams_of_a in under.items():
        counts = compare(f'dead, {family},', *streams_of_a)
        assert any(name.startswith('rdma.fallback.') for name in counts), counts


def body(args):
    with hosts.far('lost-host', smp=1) as (a, b):
        for scene in (frozen, reset, dead):
            scene(a, b, args)


if __name__ == '__main__':
    vhost.main_preloaded(body, seeds='0:3')
