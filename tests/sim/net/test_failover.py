"""Faults under streams that use RDMA: each stream ends with the bytes, or the error, of a bare one.

    test_failover.py --preload LIBRARY --tool DLACCEL [--seeds FIRST:LAST]

The fault comes once RDMA carries the stream, by the device's own counter, after a number of packets
that the seed chooses.
"""
import argparse
import functools
import random

import hosts
import streams
import vhost
from test_rdma import counters

COUNTERS = '/tmp/counters'
SIZE = 4000000
STYLES = ('large', 'epoll_edge', 'both_ways', 'two_threads', 'dontwait')


class Talk:
    """prog_stream on both hosts, under way."""

    def __init__(self, a, b, style, folder, preload=None):
        env = {'DLACCEL_DIR': f'{COUNTERS}/{folder}', 'DLACCEL_NET_THRESHOLD': '2K', 'DLACCEL_LOG': 'info',
               'DLACCEL_RDMA_DEAD': '200ms'}
        a.run(f'mkdir -p -m 700 {env["DLACCEL_DIR"]}')
        self.a, self.b, self.env = a, b, env
        styles = ['large'] * 6 + [style]    # opening rdma-core takes seconds in emulation
        prog, port = hosts.program('prog_stream'), str(next(streams.PORTS))
        common = ['-n', str(SIZE), '-f']
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
        return [(r.rc, r.out, r.err) for r in (self.client.wait(120), self.server.wait(60))]


# Shell scripts of the guest, so that a fault comes at once when its moment is there. {pid}: the server's.
FAULTS = {
    'black hole': 'loss va 100; loss vb 100; sleep {seconds}; loss va 0; loss vb 0',
    'link down': 'link_down va; sleep {seconds}; link_up va',
    'link down 10 s': 'link_down va; sleep 10; link_up va',
    'device removed': 'rdma_del rxeb && sleep {seconds} && rdma_add rxeb vb',
    'stopped': 'kill -STOP {pid}; sleep {seconds}; kill -CONT {pid}',
    'killed': 'kill -KILL {pid}',
}


@functools.cache
def bare(a, b, style):
    got = Talk(a, b, style, 'bare').results()
    assert [rc for rc, _, _ in got] == [0, 0], got
    return got


def survived(got):
    """A peer that is killed: the survivor's error is one that TCP would have given it."""
    rc, _, err = got[0]
    assert rc == 1 and any(e in err for e in ('reset', 'Broken pipe', 'returned 0', 'end in place')), got


def judge(a, b, seed, lib, tool):
    """The stream goes on and is the bare one's, byte for byte; or ends as that would."""
    dice = random.Random(seed)
    name, style = list(FAULTS)[seed % len(FAULTS)], dice.choice(STYLES)
    seconds, packets = dice.choice((.1, 1, 2)), dice.randrange(20, 300)
    want = bare(a, b, style)
    talk = Talk(a, b, style, seed, lib)
    pid = talk.server.read('pid').strip()
    job = talk.after(packets, FAULTS[name].format(seconds=seconds, pid=pid))
    got = talk.results()
    if name == 'killed':
        survived(got)
    else:
        assert got == want, (got, want, a.run(f'cat {talk.env["DLACCEL_DIR"]}/log').out)
    done = job.wait(60)
    assert done.rc == 0, done
    ends = counters(a, tool, talk.env['DLACCEL_DIR'])
    assert sum(c.get('net.bytes_verbs', 0) for c in ends) > 0, ends
    assert not any('net.violations' in c for c in ends), ends
    went_on = sum(c.get('rdma.failovers', 0) for c in ends)
    print(f'ok {seed}: {name} ({seconds} s) under {style} after {packets} packets, {went_on} directions went on')
    return went_on


def body(args):
    first, last = map(int, args.seeds.split(':'))
    with hosts.near('failover') as (a, b):
        went_on = sum(judge(a, b, seed, args.preload, args.tool) for seed in range(first, last))
        assert went_on, 'no stream ever went on over TCP'


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--preload', required=True)
    parser.add_argument('--tool', required=True)
    parser.add_argument('--seeds', default='0:6')
    arguments = parser.parse_args()
    vhost.main(lambda: body(arguments))
