"""Two guests on one cable, faults from outside, by IPv4 and by IPv6: a pulled cable, a frozen, a reset, a dead host."""
import hosts
import streams
import vhost
from faults import Connection, kinds, play

PATIENCE = ('-r', '6', '-t', '14')


def pulled_cable(a, b):
    """The end that loses its carrier hears of its port; the other learns by its own retries."""
    c = Connection(a, b, *PATIENCE)
    b.guest.cable(False)
    c.server.expect('async port error')
    c.driver.expect(r'wc 12\b')
    b.guest.cable(True)
    c.server.expect('async port active')
    assert not any(k.startswith('async') for k in kinds(c.driver)), kinds(c.driver)
    return c


def silent_black_hole(a, b):
    """No port says a word; what was in flight goes on when it heals within the retries."""
    c = Connection(a, b, '-r', '7')
    b.guest.deaf(True)
    c.quiet()
    b.guest.deaf(False)
    c.expect_progress()
    return c


def frozen_host(a, b):
    c = Connection(a, b, *PATIENCE)
    b.guest.freeze()
    c.driver.expect(r'wc 12\b')
    b.guest.thaw()
    return c


def reset_host(a, b):
    """Comes back with nothing of its past; a new connection works."""
    c = Connection(a, b, *PATIENCE)
    b.run('touch /var/tmp/before-reset')
    b.guest.reset()
    assert c.server.rc == c.server.LOST
    c.driver.expect(r'wc 12\b')
    assert b.run('ls /var/tmp/before-reset', check=False).rc, 'memory outlived the reset'
    hosts.wire(b.guest, *b.addrs)
    again = Connection(a, b, *PATIENCE)
    again.expect_progress()
    again.end()
    return c


def dead_host(a, b):
    """Once for both."""
    other, c = Connection(a.by_ipv6(), b.by_ipv6(), *PATIENCE), Connection(a, b, *PATIENCE)
    b.guest.die()
    for each in other, c:
        each.driver.expect(r'wc 12\b')
    other.end()
    return c


def tcp_outlives_a_pulled_cable(a, b):
    """A million bytes each way with the cable out for a while in between: late, but all there."""
    prog, dst = hosts.program('prog_stream'), f'dst "[{b.addr}]"'
    args = [b.addr, next(streams.PORTS), '-n', '20000000', 'both_ways']
    server = b.spawn([prog, 'serve', *args])
    server.expect('listening')
    client = a.spawn([prog, 'talk', *args])
    a.run(f'until [ $(ss -Hti {dst} | grep -o "bytes_acked:[0-9]*" | cut -d: -f2) -gt 99999 ]; '
          'do :; done')
    b.guest.cable(False)
    a.run(f'until ss -Hti {dst} | grep -q backoff; do sleep .1; done')
    assert client.rc is None, 'the transfer was over before the cable was out'
    b.guest.cable(True)
    problem = streams.complaint(client.wait(120), server.wait())
    assert not problem, problem
    print('ok tcp_outlives_a_pulled_cable')


def body():
    with hosts.far('cable') as (a, b):
        for pair in (a, b), (a.by_ipv6(), b.by_ipv6()):
            tcp_outlives_a_pulled_cable(*pair)
            play((pulled_cable, silent_black_hole, frozen_host, reset_host), *pair)
        play((dead_host,), a, b)


vhost.main(body)
