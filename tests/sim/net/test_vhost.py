"""The library itself: jobs, their ends and limits, what a guest may see and may not change."""
import os
import time

import vhost


def check_jobs(g):
    res = g.run('echo out; echo err >&2; exit 7', check=False)
    assert res == (7, 'out\n', 'err\n'), res
    assert g.run(['printf', '%s|', 'a b', "c'd"]).out == "a b|c'd|"
    assert g.run('echo $X $LD_PRELOAD', env={'X': 'x y'}, preload='/nowhere.so').out == \
        'x y /nowhere.so\n'
    assert g.run('ulimit -l', memlock=64).out == '64\n'
    try:
        g.run('exit 3')
        raise AssertionError('a failed command passed')
    except vhost.VhostError as e:
        assert 'exit code 3' in str(e)


def check_running_jobs(g):
    job = g.spawn('echo ready; sleep 1000 & wait')
    assert job.expect('^rea(dy)$').group(1) == 'dy' and job.rc is None
    assert job.kill('TERM').rc == 143
    assert g.run('pgrep -x sleep', check=False).rc == 1, 'the job left a child behind'
    for broken in (lambda: g.spawn('echo other').expect('ready'),
                   lambda: g.spawn('sleep 1000').wait(limit=0.5)):
        try:
            broken()
            raise AssertionError('waited for nothing and passed')
        except vhost.VhostError:
            pass


def check_walls(g):
    mark = f'/var/tmp/vhost-{os.getpid()}'
    g.run(f'echo x >{mark} && test -s {mark}')
    assert not os.path.exists(mark), 'a write inside reached the outer system'
    g.run(f'cmp {vhost.HERE}/vhost.py - <<"EOF_"\n' +
          (vhost.HERE / 'vhost.py').read_text() + 'EOF_')
    assert g.run('uname -r').out.strip() == g.image.release


def check_faults(g):
    ticker = g.spawn('i=0; while sleep .1; do echo $((i++)); done')
    ticker.expect('^3$')
    g.freeze()
    time.sleep(0.3)    # what was under way when it froze
    before = ticker.out
    time.sleep(1)
    assert ticker.out == before, 'a frozen guest went on'
    g.thaw()
    ticker.expect(f'^{int(before.split()[-1]) + 3}$')
    g.die()
    try:
        g.run('true')
        raise AssertionError('a dead guest answered')
    except vhost.VhostError as e:
        assert 'is down' in str(e)


def body():
    with vhost.boot('vhost') as g:
        print(f'up in {g.boot_seconds:.1f} s, kernel {g.image.release}')
        for check in (check_jobs, check_running_jobs, check_walls, check_faults):
            check(g)
            print('ok', check.__name__)


vhost.main(body)
