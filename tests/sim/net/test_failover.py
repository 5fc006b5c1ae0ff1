"""Faults under streams that use RDMA: each stream ends with the bytes, or the error, of a bare one.

    test_failover.py --preload LIBRARY --tool DLACCEL [--seeds FIRST:LAST]

The fault comes once RDMA carries the stream, by the device's own counter, after a number of packets
that the seed chooses.
"""
import argparse
import random

import hosts
import streams
import vhost
from test_rdma import counters

COUNTERS = '/tmp/counters'
SIZE = 8000000
STYLES = ('large', 'epoll_edge', 'both_ways', 'two_threads', 'dontwait')


class Talk:
    """prog_stream on both hosts, under way."""

    def __init__(self, a, b, style, seed, preload=None):
        env = {'DLACCEL_DIR': f'{COUNTERS}/{seed}', 'DLACCEL_NET_THRESHOLD': '2K', 'DLACCEL_LOG': 'info'}
        a.run(f'mkdir -p -m 700 {env["DLACCEL_DIR"]}')
        self.a, self.b, self.env = a, b, env
        styles = ['large'] * 2 + [style]    # opening rdma-core takes seconds in emulation
        prog, port = hosts.program('prog_stream'), str(next(streams.PORTS))
        common = ['-n', str(SIZE), '-s', str(seed)]
        self.server = b.spawn([prog, 'serve', b.addr, port, *common, *styles], preload=preload, env=env)
        self.server.expect('listening')
        self.sent = a.counter('sent_pkts') + b.counter('sent_pkts')
        self.client = a.spawn([prog, 'talk', b.addr, port, *common, '-b', a.addr, *styles],
                              preload=preload, env=env)

    def after(self, packets, script):
        """A job that waits until RDMA has carried so many packets and then runs the script."""
        sum_now = '$(($(counter rxea sent_pkts) + $(counter rxeb sent_pkts)))'
        return self.a.spawn(f'. "$VHOST_NET"; until [ {sum_now} -gt {self.sent + packets} ]; do sleep .01; done; '
                            f'echo now; {script}')

    def results(self):
        return self.client.wait(120), self.server.wait(60)


# Shell scripts of the guest, so that a fault comes at once when its moment is there.
BLACK_HOLE = 'loss va 100; loss vb 100; sleep {seconds}; loss va 0; loss vb 0'
LINK_DOWN = 'link_down va; sleep {seconds}; link_up va'
DEVICE_REMOVED = 'rdma_del rxeb && sleep {seconds} && rdma_add rxeb vb'

FAULTS = (BLACK_HOLE, LINK_DOWN, DEVICE_REMOVED)


def whole(a, b, seed, lib, tool):
    """The stream goes on and is the bare one's, byte for byte."""
    dice = random.Random(seed)
    fault, style = FAULTS[seed % len(FAULTS)], dice.choice(STYLES)
    seconds, packets = dice.choice((1, 2)), dice.randrange(20, 300)
    bare = Talk(a, b, style, seed).results()
    talk = Talk(a, b, style, seed, lib)
    job = talk.after(packets, fault.format(seconds=seconds))
    got = talk.results()
    done = job.wait(60)
    assert done.rc == 0, done
    ends = counters(a, tool, talk.env['DLACCEL_DIR'])
    log = a.run(f'cat {talk.env["DLACCEL_DIR"]}/log').out
    assert [(r.rc, r.out) for r in got] == [(r.rc, r.out) for r in bare], (got, bare, ends, log)
    assert sum(c.get('net.bytes_verbs', 0) for c in ends) > 0, ends
    assert not any('net.violations' in c for c in ends), ends
    went_on = sum(c.get('rdma.failovers', 0) for c in ends)
    print(f'ok {seed}: {fault.split()[0]} under {style} after {packets} packets, {went_on} directions went on')
    return went_on


def killed(a, b, seed, lib, tool):
    """The peer is killed in mid-stream: the survivor's error is one that TCP would have given it."""
    talk = Talk(a, b, 'large', seed, lib)
    talk.after(50 + seed, f'kill -KILL {talk.server.read("pid").strip()}')
    client = talk.client.wait(60)
    assert client.rc == 1, client
    assert any(e in client.err for e in ('reset', 'Broken pipe', 'returned 0')), client
    print(f'ok {seed}: killed, the survivor says {client.err.strip()!r}')


def body(args):
    first, last = map(int, args.seeds.split(':'))
    with hosts.near('failover') as (a, b):
        went_on = sum(whole(a, b, seed, args.preload, args.tool) for seed in range(first, last))
        assert went_on, 'no stream ever went on over TCP'
        killed(a, b, last, args.preload, args.tool)


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--preload', required=True)
    parser.add_argument('--tool', required=True)
    parser.add_argument('--seeds', default='0:3')
    arguments = parser.parse_args()
    vhost.main(lambda: body(arguments))
