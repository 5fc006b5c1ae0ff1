"""The registration cache on a real device: memory is freed, unmapped, discarded and moved between
transfers, and comes back at the same address with other pages. The control without a watch must
transfer stale pages, or the test would show nothing."""
import re

import hosts
import vhost


def counts(out):
    last = out.splitlines()[-1]
    return {k: int(v) for k, v in re.findall(r'(out|in|hits|registered|once|stale) (\d+)', last)}


def play(host, kind, **kw):
    prog = [hosts.program('prog_memreg'), host.rdma, host.gid_index(), kind]
    return host.run(prog, 120, check=False, **kw)


def body():
    with hosts.near('memreg') as (a, _):
        believed = play(a, 'believe')
        c = counts(believed.out)
        assert believed.rc == 1 and c['out'] > 20 and c['in'] > 20, believed
        print('ok the control transfers stale pages:', believed.out.splitlines()[-1])
        watched = play(a, 'watch')
        assert watched.rc == 0, watched
        c = counts(watched.out)
        assert c['hits'] >= 40, c    # the buffer that did not change was registered once
        print('ok watched:', watched.out.splitlines()[-1])
        # As an ordinary user with little lockable memory: 256 KiB fit, two buffers of them do not.
        user = ['setpriv', '--reuid', '65534', '--clear-groups']
        prog = [hosts.program('prog_memreg'), a.rdma, a.gid_index(), 'watch']
        small = a.run([*user, *prog], 120, check=False, memlock=1024)
        assert small.rc == 0, small
        print('ok as a user with 1 MiB:', small.out.splitlines()[-1])
        tiny = a.run([*user, *prog], 120, check=False, memlock=64)
        assert tiny.rc == 2 and 'Cannot allocate memory' in tiny.err, tiny
        print('ok with 64 KiB it says so:', tiny.err.strip())


vhost.main(body)
