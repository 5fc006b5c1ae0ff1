"""Runs prog_stream, the byte-checking pair, between two hosts: bare, or under a preload."""
import glob
import itertools

import hosts
import vhost

PORTS = itertools.count(7100)
PATIENT = {'DLACCEL_RDMA_DEAD': '20s', 'DLACCEL_RDMA_IDLE': '60s'}    # emulation stalls: that is not to be taken for a failure


def all_styles(host):
    return host.run([hosts.program('prog_stream'), 'list']).out.split()


def librspreload():
    found = glob.glob('/usr/lib/*/rsocket/librspreload.so') + glob.glob('/usr/lib*/rsocket/*.so')
    return found[0] if found else None


def talk(a, b, styles, size=300000, seed=1, preload=(None, None), env=None, limit=120, at=None):
    """(client's Result, server's Result); preload: for the client on a, for the server on b; at: the client's address,
    the one that it calls and the one that the server has."""
    mine, called, theirs = at or (a.addr, b.addr, b.addr)
    port = str(next(PORTS))
    prog = hosts.program('prog_stream')
    common = ['-n', str(size), '-s', str(seed)]
    server = b.spawn([prog, 'serve', theirs, port, *common, *styles], preload=preload[1], env=env)
    try:
        server.expect('listening')
        client = a.spawn([prog, 'talk', called, port, *common, '-b', mine, *styles],
                         preload=preload[0], env=env)
        return client.wait(limit), server.wait(limit)
    finally:
        server.kill()


def complaint(client, server):
    """None where both ends are content, else what the first to complain says."""
    if client.rc == 0 and server.rc == 0:
        return None
    for r in (client, server):
        if r.rc and r.err.strip():
            return r.err.strip().splitlines()[0].removeprefix('FAIL ')
    return f'exit codes {client.rc} and {server.rc}'


def swapped(text):
    """What the other end must have printed: in and out change places."""
    lines = []
    for ln in text.splitlines():
        style, _, rest = ln.partition(': out ')
        out, _, into = rest.partition(', in ')
        lines.append(f'{style}: out {into}, in {out}')
    return '\n'.join(lines)


def verdict(a, b, style, **kw):
    """None or the complaint for one style; a hang is a complaint."""
    try:
        return complaint(*talk(a, b, [style], **kw))
    except vhost.VhostError as e:
        return str(e).splitlines()[0]
