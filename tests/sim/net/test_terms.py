"""On which terms two hosts use RDMA: keys, limits, devices, a switch. Whatever stands in the way, the
program's bytes are the bare ones, and a counter says what it was.

    test_terms.py --preload LIBRARY --tool DLACCEL
"""

import hosts
import streams
import vhost
from test_rdma import counters

STYLES, SIZE = ['large'] * 10, 1500000
KEYS = '/tmp/keys'
USER = ['setpriv', '--bounding-set', '-ipc_lock']    # root itself may lock anything


class Terms:
    """One conversation, with an environment for each end."""

    runs = 0

    def __init__(self, a, b, args, bare, memlock=None, both=(), client=(), server=()):
        Terms.runs += 1
        self.folder = f'/tmp/counters/{Terms.runs}'
        a.run(f'mkdir -p {self.folder}')
        env = {'DLACCEL_DIR': self.folder, 'DLACCEL_NET_THRESHOLD': '2K', 'DLACCEL_LOG': 'info', **streams.PATIENT, **dict(both)}
        port, prog = str(next(streams.PORTS)), hosts.program('prog_stream')
        common = ['-n', str(SIZE), '-s', '1']
        server_job = b.spawn([prog, 'serve', b.addr, port, *common, *STYLES], preload=args.preload,
                             env={**env, **dict(server)}, memlock=memlock)
        server_job.expect('listening')
        talk = [prog, 'talk', b.addr, port, *common, '-b', a.addr, *STYLES]
        if memlock:
            talk = [*USER, 'env', f'LD_PRELOAD={args.preload}', *talk]
        client_job = a.spawn(talk, preload=None if memlock else args.preload, env={**env, **dict(client)}, memlock=memlock)
        got = client_job.wait(120), server_job.wait(60)
        assert [(r.rc, r.out) for r in got] == [(r.rc, r.out) for r in bare], (got, bare)
        self.ends = counters(a, args.tool, self.folder)

    def sum(self, name):
        return sum(c.get(name, 0) for c in self.ends)

    def expect(self, what, upgraded, reason=None):
        assert bool(self.sum('net.upgraded.verbs')) == upgraded, (what, self.ends)
        assert not reason or self.sum(reason), (what, self.ends)
        assert not self.sum('net.violations'), (what, self.ends)
        print(f'ok {what}: ' + ('RDMA' if upgraded else f'plain TCP, {reason}'))


def body(args):
    with hosts.near('terms') as (a, b):
        a.run(f'umask 077; mkdir {KEYS}; cd {KEYS}; for k in one other; do head -c 32 /dev/urandom >$k; done; '
              'cp one open; chmod 644 open; head -c 16 one >short; ln -s one link')
        bare = streams.talk(a, b, STYLES, size=SIZE)

        def terms(**kw):
            return Terms(a, b, args, bare, **{k: [v] if isinstance(v, tuple) else v for k, v in kw.items()})

        def key(name):
            return 'DLACCEL_SECRET_FILE', f'{KEYS}/{name}'
        terms(both=key('one')).expect('the same key', True)
        terms(client=key('one'), server=key('other')).expect('two keys', False, 'rdma.fallback.secret')
        terms(client=key('one')).expect('a key at one end', False, 'rdma.fallback.secret')
        for name in ('open', 'short', 'link', 'absent'):
            terms(server=key(name)).expect(f'an unfit key ({name})', False, 'rdma.fallback.secret')
        terms(server=('DLACCEL_RDMA_DEVICES', 'rxea,none')).expect('the device not listed', False, 'rdma.fallback.no_device')
        for host in (b, a):
            assert host.remove_rdma().wait().rc == 0
            terms().expect(f'no device at host {host.name}', False, 'rdma.fallback.no_device')
            host.add_rdma()
        terms().expect('both devices are back', True)
        terms(client=('DLACCEL_RDMA', '0')).expect('switched off at one end', False)
        terms(memlock=64).expect('64 KiB of lockable memory', False, 'rdma.fallback.memlock')


if __name__ == '__main__':
    vhost.main_preloaded(body)
