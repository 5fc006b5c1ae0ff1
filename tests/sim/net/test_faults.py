"""What verbs reports when things break, in one guest: the rules that failover is built on.

Asserted: which news comes, which does not, and in which order. Printed, not asserted: when.
"""
import hosts
import vhost
from faults import Connection, kinds, play


def black_hole(a, b, percent):
    a.loss(percent)
    b.loss(percent)


def peer_killed(a, b):
    c = Connection(a, b)
    c.server.kill('KILL')
    c.driver.expect('cm DISCONNECTED')
    first = kinds(c.driver)[0]
    assert not first.startswith('wc 12'), first
    return c


def black_hole_found(a, b):
    c = Connection(a, b, '-r', '6', '-t', '14')
    black_hole(a, b, 100)
    c.driver.expect(r'wc 5\b')
    news = kinds(c.driver)
    assert news[0].startswith('wc 12') and news[1].startswith('wc 5'), news
    black_hole(a, b, 0)
    return c


def black_hole_never_found(a, b):
    """rxe takes retry_cnt 7 as for ever: nothing comes, and the transfer goes on when it heals."""
    c = Connection(a, b, '-r', '7', '-t', '14')
    black_hole(a, b, 100)
    c.quiet()
    black_hole(a, b, 0)
    c.expect_progress()
    return c


def idle_black_hole(a, b):
    """Nobody tells an idle connection: it needs a heartbeat of its own."""
    c = Connection(a, b, mode='idle')
    black_hole(a, b, 100)
    c.quiet()
    black_hole(a, b, 0)
    return c


def link_down(a, b):
    """A port event at both ends of the veth, and again when it comes back; nothing else."""
    c = Connection(a, b, mode='idle')
    a.link(False)
    for job in (c.driver, c.server):
        job.expect('async port error')
    a.link(True)
    for job in (c.driver, c.server):
        job.expect('async port active')
    assert all(k.startswith('async') for k in kinds(c.driver)), kinds(c.driver)
    return c


def link_down_under_load(a, b):
    c = Connection(a, b, '-r', '6', '-t', '14')
    a.link(False)
    c.driver.expect('async port error')
    a.link(True)
    c.driver.expect('async port active')
    return c


def device_removed(a, b):
    """The kernel waits for the process to let go; the other end is told; and it can come back."""
    c = Connection(a, b, mode='send')
    removal = b.remove_rdma()
    c.server.expect('cm DEVICE_REMOVAL|async local catastrophic')
    c.server.expect('released')
    c.driver.expect('cm DISCONNECTED')
    assert removal.wait().rc == 0
    b.add_rdma()
    again = Connection(a, b)
    again.expect_progress()
    again.end()
    return c


SCENES = (peer_killed, black_hole_found, black_hole_never_found, idle_black_hole, link_down,
          link_down_under_load, device_removed)


def body():
    with hosts.near('faults') as (a, b):
        play(SCENES, a, b)


vhost.main(body)
