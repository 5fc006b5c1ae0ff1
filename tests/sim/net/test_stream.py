"""Every style of socket call between two hosts, every byte checked.

    test_stream.py [--preload LIBRARY [--tool DLACCEL]] [VARIABLE=VALUE...]

With a library the same is run with it on both ends, on the client's alone and on the server's
alone; each end must print what it prints without. With the tool the counters of an end that was alone must show
that it looked for its peer by RDMA, and found nobody.
"""
import argparse
import collections

import hosts
import streams
import vhost
from test_rdma import counters


def run(a, b, styles, seed, **kw):
    client, server = streams.talk(a, b, styles, seed=seed, **kw)
    problem = streams.complaint(client, server)
    assert not problem, problem
    heard = server.out.replace('listening\n', '')
    assert [ln.split(':')[0] for ln in client.out.splitlines()] == styles, client.out
    assert streams.swapped(client.out).splitlines() == heard.splitlines(), (client.out, heard)
    return client.out, heard


def tried_in_vain(a, tool, folder, caller):
    """A plain peer neither listens nor calls: who calls it hears of that, who listens for it hears nothing."""
    ends = sum(map(collections.Counter, counters(a, tool, folder)), collections.Counter())
    assert ends['rdma.meetings'] and not ends['net.upgraded'], ends
    assert bool(ends['rdma.nobody']) == caller, ends
    assert not any(name.startswith(('rdma.fallback', 'net.violations')) for name in ends), ends
    print(f'   looked for the peer by RDMA {ends["rdma.meetings"]} times, {ends["rdma.nobody"]} calls found nobody')


def body(args):
    env = dict(pair.split('=', 1) for pair in args.variables)
    with hosts.near('stream') as (a, b):
        styles = streams.all_styles(a)
        bare = run(a, b, styles, seed=1)
        print(f'ok bare, {len(styles)} styles')
        other = run(a, b, styles[:3], seed=2)
        assert other[0].splitlines()[0] != bare[0].splitlines()[0], 'the seed changes nothing'
        if not args.preload:
            return
        lib = args.preload
        for name, preload in (('both', (lib, lib)), ('client', (lib, None)),
                              ('server', (None, lib))):
            folder = f'/tmp/counters.{name}'
            a.run(f'mkdir -m 700 {folder}')
            got = run(a, b, styles, seed=1, preload=preload, env={'DLACCEL_DIR': folder, **env})
            assert got == bare, (got, bare)
            print(f'ok preloaded at {name}')
            if args.tool and name != 'both':
                tried_in_vain(a, args.tool, folder, caller=name == 'server')


parser = argparse.ArgumentParser()
parser.add_argument('--preload')
parser.add_argument('--tool')
parser.add_argument('variables', nargs='*')
arguments = parser.parse_args()
vhost.main(lambda: body(arguments))
