"""Two hosts with an RDMA device each, as the tests see them.

    with hosts.near('name') as (a, b):    both in one guest, on a veth pair: the fast tier
    with hosts.far('name') as (a, b):     a guest each, on one cable

A Host has an address, a network device and an rxe device; run() and spawn() are its guest's. In
near() each host's programs see a boot id of their own, or they would know each other for neighbours.
"""
import contextlib
import copy
import os
import subprocess

import vhost


def program(name):
    """Path of a test program in the build tree (VHOST_BUILD, else build/ in the checkout)."""
    path = vhost.build_dir() / 'tests/sim/net' / name
    if not path.exists():
        raise vhost.VhostError(f'{path} is not built')
    return str(path)


def interpreter(module):
    """Path of the Python that has it: VHOST_PYTHON, else the checkout's .venv."""
    path = os.environ.get('VHOST_PYTHON') or str(vhost.CHECKOUT / '.venv/bin/python')
    found = subprocess.run([path, '-c', f'import importlib.util as u; print(u.find_spec("{module}"))'],
                           stdout=subprocess.PIPE, text=True).stdout if os.path.exists(path) else ''
    assert 'ModuleSpec' in found, f'{path} has no {module}; tools/check makes the .venv with it'
    return path


class Host:
    def __init__(self, name, guest, addr, netdev, rdma, boot_id=None, addr6=None):
        self.name, self.guest, self.addr, self.addr6 = name, guest, addr, addr6
        self.netdev, self.rdma, self.boot_id = netdev, rdma, boot_id
        self.addrs = addr, addr6

    def by_ipv6(self):
        """The same host, at that address."""
        host = copy.copy(self)
        host.addr = self.addr6
        return host

    def run(self, command, limit=60, check=True, **kw):
        return self.guest.run(command, limit, check, boot_id=self.boot_id, **kw)

    def spawn(self, command, **kw):
        return self.guest.spawn(command, boot_id=self.boot_id, **kw)

    def link(self, up):
        self.guest.net('link_up' if up else 'link_down', self.netdev)

    def loss(self, percent):
        """Of the packets that leave this host; 100 on both is a black hole, 0 ends it."""
        self.guest.net('loss', self.netdev, percent)

    def remove_rdma(self):
        """Starts it and returns the job: the kernel waits for the programs on the device."""
        return self.spawn(['rdma', 'link', 'delete', self.rdma])

    def add_rdma(self):
        self.guest.net('rdma_add', self.rdma, self.netdev)

    def counter(self, name):
        return int(self.guest.net('counter', self.rdma, name))

    def wait_rdma(self, port, limit=60):
        """Until something listens on that port of the RDMA address space."""
        at = f'src-addr {self.addr}:{port} '
        self.run(f'until rdma resource show cm_id | grep LISTEN | grep -q "{at}"; do sleep .1; done',
                 limit)

    def gid_index(self):
        return self.guest.net('gid_index', self.rdma, self.addr).strip()


@contextlib.contextmanager
def near(name, mtu=9000, **kw):
    with vhost.boot(name, **kw) as g:
        g.net('veth_hosts', mtu)
        ids = [f'/var/tmp/boot_id.{n}' for n in 'ab']
        g.run(''.join(f'cat /proc/sys/kernel/random/uuid >{i};' for i in ids))
        yield (Host('a', g, '10.1.0.1', 'va', 'rxea', ids[0]),
               Host('b', g, '10.1.0.2', 'vb', 'rxeb', ids[1]))


def near_ipv6(a, b):
    """fd00::1 and fd00::2 for the two hosts of near(), and fe80::1 and fe80::2."""
    a.guest.net('veth_ipv6')


def wire(guest, addr, addr6, mtu=9000):
    """Addresses and rxe device of a guest on a cable; again after a reset."""
    guest.net('nic_host', addr + '/24', addr6, mtu)


@contextlib.contextmanager
def far(name, mtu=9000, **kw):
    with vhost.pair(name, **kw) as guests:
        ends = ('10.0.0.1', 'fd00::1'), ('10.0.0.2', 'fd00::2')
        for guest, addrs in zip(guests, ends):
            wire(guest, *addrs, mtu)
        yield tuple(Host(n, g, addr, 'eth0', 'rxe0', addr6=addr6) for n, g, (addr, addr6) in zip('ab', guests, ends))
