"""Every style of socket call between two hosts, every byte checked.

    test_stream.py [--preload LIBRARY] [VARIABLE=VALUE...]

With a library the same is run with it on both ends, on the client's alone and on the server's
alone; each end must print what it prints without.
"""
import argparse

import hosts
import streams
import vhost


def run(a, b, styles, seed, **kw):
    client, server = streams.talk(a, b, styles, seed=seed, **kw)
    problem = streams.complaint(client, server)
    assert not problem, problem
    heard = server.out.replace('listening\n', '')
    assert [ln.split(':')[0] for ln in client.out.splitlines()] == styles, client.out
    assert streams.swapped(client.out).splitlines() == heard.splitlines(), (client.out, heard)
    return client.out, heard


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
            got = run(a, b, styles, seed=1, preload=preload, env=env)
            assert got == bare, (got, bare)
            print(f'ok preloaded at {name}')


parser = argparse.ArgumentParser()
parser.add_argument('--preload')
parser.add_argument('variables', nargs='*')
arguments = parser.parse_args()
vhost.main(lambda: body(arguments))
