"""dlaccel doctor --peer: each of its answers where it is true. It looks at this host alone and sends nothing: what only the other end
knows (no library, no device, another key, nobody listening) it cannot say, and says so; test_terms has what becomes of it.

    test_doctor.py --preload LIBRARY --tool DLACCEL
"""
import re

import hosts
import vhost

USER = 'setpriv --reuid 65534 --clear-groups'    # nobody


class Doctor:
    def __init__(self, host, tool):
        self.host, self.tool = host, tool

    def expect(self, peer, wanted, user='', **env):
        """The one line about the peer: a verdict and what it says."""
        said = self.host.run(f'{user} {self.tool} doctor --peer {peer}', env=env, check=False).out
        line, = re.findall(r'^(\S+ +peer .*)$', said, re.M)
        assert re.fullmatch(wanted, re.sub(' +', ' ', line)), (wanted, said)
        print('ok', line)


def body(args):
    with hosts.near('doctor') as (a, b):
        hosts.near_ipv6(a, b)
        doctor = Doctor(a, args.tool)
        fine = r'ok peer {} from {} by va: rxea; the other end needs one too'
        doctor.expect(b.addr, fine.format(b.addr, a.addr))
        doctor.expect('fd00::2', fine.format('fd00::2', 'fd00::1'))
        doctor.expect('fe80::2%va', fine.format('fe80::2', r'fe80::\S+'))
        doctor.expect(b.addr, 'ok peer .* rxea; .*', DLACCEL_RDMA_DEVICES='none,rxea')
        doctor.expect(b.addr, 'note peer .* rxea, but DLACCEL_RDMA_DEVICES=rxeb does not name it', DLACCEL_RDMA_DEVICES='rxeb')
        a.run('head -c 32 /dev/urandom > /tmp/key; chmod 644 /tmp/key')
        doctor.expect(b.addr, 'note peer .* rxea: RDMA is off, DLACCEL_SECRET_FILE can be read by others .*', DLACCEL_SECRET_FILE='/tmp/key')
        a.run('chmod 600 /tmp/key')
        doctor.expect(b.addr, fine.format(b.addr, a.addr), DLACCEL_SECRET_FILE='/tmp/key')
        a.run('chmod 600 /dev/infiniband/rdma_cm')
        doctor.expect(b.addr, 'note peer .* rxea: no access to /dev/infiniband/rdma_cm .*', USER)
        doctor.expect('127.0.0.1', 'note peer 127.0.0.1 is this host: shared memory')
        doctor.expect('nowhere.invalid', 'note peer nowhere.invalid cannot be resolved, or there is no route')
        b.link(False)
        doctor.expect(b.addr, 'note peer .* rxea, but its port is .*DOWN')
        b.link(True)
        a.run('. "$VHOST_NET"; rdma_active rxea')
        doctor.expect(b.addr, fine.format(b.addr, a.addr))
        assert b.remove_rdma().wait().rc == 0
        doctor.expect(b.addr, fine.format(b.addr, a.addr))
        b.add_rdma()
        assert a.remove_rdma().wait().rc == 0
        doctor.expect(b.addr, f'note peer {b.addr} from {a.addr} by va: no RDMA device stands there, so TCP')


if __name__ == '__main__':
    vhost.main_preloaded(body)
