"""Streams between two hosts move to RDMA, and the bytes stay what they were.

    test_rdma.py --preload LIBRARY --tool DLACCEL [--styles STYLE,...]

Every claim is checked twice: by the device's own counters and by the library's, of which what one end
has sent must be what the other has received.
"""
import argparse
import re

import hosts
import streams
import vhost

COUNTERS = '/tmp/counters'    # the guest's own; a shared mapping needs a real file system
FEW = 'plain,writev,epoll_edge,peek,fionread,sendfile,fork,two_threads,both_ways'
WARM = ['large'] * 8    # meanwhile the library opens rdma-core, which takes seconds in emulation
LATER = ['epoll_edge', 'large']
FAMILIES = {    # the client's address, the one that it calls, the server's
    'IPv6': ('fd00::1', 'fd00::2', 'fd00::2'),
    'IPv6, link-local': ('fe80::1%va', 'fe80::2%va', 'fe80::2%vb'),
    'IPv4 on IPv6 sockets': ('::ffff:10.1.0.1', '::ffff:10.1.0.2', '::ffff:10.1.0.2'),
    'IPv4, on an IPv6 socket at the server': ('10.1.0.1', '10.1.0.2', '::ffff:10.1.0.2'),
}


def counters_script(tool, folder):
    return f'for f in {folder}/*.stats; do {tool} stats $f; done'


def counters(host, tool, folder=COUNTERS):
    """One dictionary of the library's counters for each process that has left any."""
    return parse_counters(host.run(counters_script(tool, folder)).out)


def counters_of(host, tool, folder, jobs):
    """Of these processes, in this order, as far as they have left any."""
    script = ''.join(f'{tool} stats {folder}/{job.read("pid").strip()}.stats\n' for job in jobs)
    return parse_counters(host.run(script, check=False).out)


def parse_counters(text):
    found = []
    for line in text.splitlines():
        if line.startswith('pid '):
            found.append({})
        elif m := re.match(r' +(\S+) +(\d+) ', line):
            found[-1][m[1]] = int(m[2])
    return found


def by_rdma(a, b, args, styles, bare, at=None):
    """Both ends' counters and what they show, once the bytes are the bare ones."""
    a.run(f'rm -rf {COUNTERS}; mkdir -m 700 {COUNTERS}')
    before = a.counter('sent_pkts'), b.counter('sent_pkts')
    got = streams.talk(a, b, WARM + styles, size=args.bytes, limit=300, preload=(args.preload,) * 2, at=at,
                       env={'DLACCEL_DIR': COUNTERS, 'DLACCEL_NET_THRESHOLD': '2K', 'DLACCEL_LOG': 'info'})
    assert not streams.complaint(*got), streams.complaint(*got)
    said = a.run(f'cat {COUNTERS}/log').out
    assert 'when the device is removed' not in said, said    # the watch is bound to the same address
    for plain, moved in zip(bare, got):
        assert moved.out.endswith(plain.out.removeprefix('listening\n')), (plain.out, moved.out)
    packets = a.counter('sent_pkts') - before[0], b.counter('sent_pkts') - before[1]
    ends = [c for c in counters(a, args.tool) if c.get('net.upgraded.verbs')]
    assert len(ends) == 2, ends
    for one, other in (ends, ends[::-1]):
        assert one['net.bytes_verbs'] == other['net.recv_verbs'] > 100000, ends
        assert 'net.violations' not in one and 'rdma.failovers' not in one, ends
        assert one['rdma.registrations'] <= 2 * len(WARM + styles), ends
    moved = sum(c['net.bytes_verbs'] for c in ends)
    assert sum(packets) > moved / 9000, (packets, moved)    # a packet carries no more than the MTU
    return ends, f'{moved} bytes by RDMA in {packets} packets'


def family_moves(a, b, args, at):
    bare = streams.talk(a, b, LATER, size=args.bytes, at=at)
    assert not streams.complaint(*bare), streams.complaint(*bare)
    return by_rdma(a, b, args, LATER, bare, at)[1]


def body(args):
    styles = args.styles.split(',')
    with hosts.near('rdma') as (a, b):
        styles = streams.all_styles(a) if styles == ['all'] else styles
        bare = streams.talk(a, b, styles, size=args.bytes, limit=200)
        assert not streams.complaint(*bare), streams.complaint(*bare)
        said = a.run([args.tool, 'doctor', '--peer', b.addr], check=False).out
        assert re.search(rf'^ok +peer +{b.addr} from {a.addr} by {a.netdev}: {a.rdma};', said, re.M), said
        ends, told = by_rdma(a, b, args, styles, bare)
        for end in ends:
            assert end['net.upgraded.verbs'] >= len(styles) - 2, ends    # exec and the like stay plain
            assert end['rdma.bytes_direct'] > 100000, ends    # buffers of 1 MiB: read where they lie
        print(f'ok {len(styles)} styles, {told}')
        hosts.near_ipv6(a, b)
        for family, at in FAMILIES.items():
            print(f'ok {family}, {family_moves(a, b, args, at)}')


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--preload', required=True)
    parser.add_argument('--tool', required=True)
    parser.add_argument('--styles', default=FEW)
    parser.add_argument('--bytes', type=int, default=1500000)
    arguments = parser.parse_args()
    vhost.main(lambda: body(arguments))
