"""The registration cache on a real device: memory is freed, unmapped, discarded and moved between
transfers, and comes back at the same address with other pages. The control without a watch must
transfer stale pages, or the test would show nothing. As often as the cache says it has registered
memory the kernel has been asked to, and what it says it keeps, and no more, the kernel has."""
import re

import hosts
import kernel
import vhost


def counts(out):
    last = out.splitlines()[-1]
    return {k: int(v) for k, v in re.findall(r'(out|in|hits|registered|once|stale|kept) (\d+)', last)}


def play(host, kind, **kw):
    prog = [hosts.program('prog_memreg'), host.rdma, host.gid_index(), kind]
    return host.run(prog, 120, check=False, **kw)


def check_lists(host):
    """Besides the cache's there is the other end's buffer."""
    device, prog = kernel.Lists(host), hosts.program('prog_memreg')
    host.run('mkfifo /tmp/go')
    before = device.look(count=True)
    job = host.spawn(f'exec {prog} {host.rdma} {host.gid_index()} watch 0<>/tmp/go')
    job.expect('^stale out', 120)
    c, now = counts(job.out), device.look(count=True)
    assert now.made - before.made == c['registered'] + 1, (c, vars(before), vars(now))
    assert len(now.regions) == c['kept'] + 1, (c, vars(now))
    job.kill()
    device.wait(lambda now: not now.regions, 60, 'a killed program has nothing registered')
    print('ok', c['registered'], 'registered and', c['kept'], 'kept, by the kernel too')


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
        check_lists(a)
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
