"""A training loop on blocking sockets: once its shapes are known, a tensor is written from the sender's buffer into the one that the
receiver waits with, without being asked for; so it is when the shape changes, and nothing is registered any more by then, by the kernel's lists too.

    test_adverts.py --preload LIBRARY --tool DLACCEL
"""
import argparse
import sys

import hosts
import kernel
import streams
import vhost
from test_rdma import counters_of

PROGRAM = str(vhost.HERE / 'net_shapes.py')
FOLDER = '/tmp/counters'
ENOUGH = 4 << 20    # bytes placed by each end, of each shape
LIMIT_S = 400


def placed(a, tool, jobs, more_than):
    """Both ends, once each has placed so many bytes more."""
    ends = [c for c in counters_of(a, tool, FOLDER, jobs) if c.get('net.upgraded.verbs')]
    enough = len(ends) == 2 and all(e.get('rdma.bytes_placed', 0) > more for e, more in zip(ends, more_than))
    return ends if enough else None


def registrations(ends):
    return [e['rdma.registrations'] for e in ends]


def body(args):
    env = {'DLACCEL_DIR': FOLDER, 'DLACCEL_NET_THRESHOLD': '2K', **streams.PATIENT}
    with hosts.near('adverts') as (a, b):
        a.run(f'rm -rf {FOLDER}; mkdir -m 700 {FOLDER}')
        server = b.spawn([sys.executable, PROGRAM, 'serve', b.addr, '7800'], preload=args.preload, env=env)
        server.expect('listening', 300)
        client = a.spawn([sys.executable, PROGRAM, 'talk', b.addr, '7800', f'{FOLDER}/end'], preload=args.preload, env=env)
        jobs, lists = (client, server), (kernel.Lists(a), kernel.Lists(b))

        def go_on(ends, what):
            """Until each end has placed as much again; and what the kernel has on its lists then."""
            least = [e.get('rdma.bytes_placed', 0) + ENOUGH for e in ends]
            return (vhost.wait_until(lambda: placed(a, args.tool, jobs, least), LIMIT_S, what),
                    [device.look(count=True) for device in lists])
        ends, looks = [{}, {}], None
        for shape in range(2):
            earlier, before = ends, looks
            ends, looks = go_on(ends, f'shape {shape} placed')
            known, seen = registrations(ends), looks
            if before:
                new = [now - then for now, then in zip(known, registrations(earlier))]
                assert [kernel.registered(*pair) for pair in zip(before, looks)] == new != [0, 0], (new, ends)
            ends, looks = go_on(ends, f'shape {shape} placed again')
            assert registrations(ends) == known, (known, ends)
            assert [(k.made, k.regions) for k in looks] == [(k.made, k.regions) for k in seen], [vars(k) for k in seen + looks]
            a.run(f'touch {FOLDER}/end.{shape}')
        sent, got = client.wait(300), server.wait(300)
        assert sent.rc == got.rc == 0 and sent.out, (sent, got)
        assert got.out.split('\n')[1].split()[0] == sent.out.split()[0], (sent, got)
        ends = counters_of(a, args.tool, FOLDER, jobs)
        for one, other in (ends, ends[::-1]):
            assert 'net.violations' not in one and 'rdma.failovers' not in one, ends
            assert one['net.bytes_verbs'] == other['net.recv_verbs'], ends
            assert one['rdma.bytes_placed'] <= other['rdma.bytes_direct'], ends
        told = [{k: e.get(k, 0) for k in ('rdma.adverts', 'rdma.bytes_placed', 'rdma.bytes_direct', 'net.blocks', 'rdma.registrations')} for e in ends]
        print(f'ok {sent.out.split()[0]} bytes each way; {told}; by the kernel', ' and '.join(f'{k.made}' for k in looks), 'registrations in all')


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--preload', required=True)
    parser.add_argument('--tool', required=True)
    arguments = parser.parse_args()
    vhost.main(lambda: body(arguments))
