"""Programs that rsockets' preload cannot run, between two hosts and within one: event loops, servers that fork,
wildcard addresses, non-blocking connects, 127.0.0.1. Bare and preloaded they do the same, and RDMA carries what it can.

    test_programs.py --preload LIBRARY --tool DLACCEL
"""
import itertools
import shutil
import sys

import hosts
import vhost
from test_rdma import counters

ECHO = str(vhost.HERE / 'net_echo.py')
PORTS = itertools.count(7700)
TALK = ('2', '25', '60000')    # connections, rounds, most bytes of a round
TRIES = 4                      # until RDMA is there: opening rdma-core takes seconds in emulation
FILES = (100, 65536, 3000000)
NGINX = '''
user root; worker_processes 2; daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
	access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
	uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
	server {{
		listen {port};
		location /send/ {{ alias {folder}/; sendfile on; tcp_nopush on; }}
		location /copy/ {{ alias {folder}/; sendfile off; }}
	}}
}}
'''


class Runs:
    def __init__(self, a, b, args):
        self.a, self.b, self.args, self.made = a, b, args, 0

    def environment(self, preloaded):
        """Its counters in a folder of their own; keyword arguments of run and spawn."""
        self.made += 1
        self.folder = f'/tmp/counters/{self.made}'
        self.a.run(f'mkdir -p -m 700 /tmp/counters; mkdir -m 700 {self.folder}')
        env = {'DLACCEL_DIR': self.folder, 'DLACCEL_NET_THRESHOLD': '2K', 'DLACCEL_LOG': 'info'}
        return {'env': env, 'preload': self.args.preload} if preloaded else {}

    def by_rdma(self):
        """Bytes that went by RDMA; what one end has sent the other must have received."""
        ends = counters(self.a, self.args.tool, self.folder)
        sent, received = (sum(c.get(k, 0) for c in ends) for k in ('net.bytes_verbs', 'net.recv_verbs'))
        assert sent == received, ends
        assert not any('net.violations' in c or 'rdma.failovers' in c for c in ends), ends
        return sent

    def echo(self, verb, preloaded):
        """[what the client printed, from each address], and the bytes by RDMA."""
        kw, port = self.environment(preloaded), str(next(PORTS))
        server = self.b.spawn([sys.executable, ECHO, verb, '0.0.0.0', port], **kw)
        server.expect('listening')
        said = []
        for address in (self.b.addr, '127.0.0.1'):
            host = self.a if address == self.b.addr else self.b
            for _ in range(TRIES if preloaded else 1):
                said.append((address, host.run([sys.executable, ECHO, 'talk', address, port, *TALK], **kw).out))
                if not preloaded or address != self.b.addr or self.by_rdma():
                    break
        server.kill('TERM')
        return sorted(set(said)), self.by_rdma() if preloaded else 0

    def redis(self, preloaded):
        kw, port = self.environment(preloaded), str(next(PORTS))
        server = self.b.spawn(['redis-server', '--port', port, '--bind', self.b.addr, '127.0.0.1', '--save', '',
                               '--dir', '/tmp', '--protected-mode', 'no'], **kw)
        self.b.guest.wait_tcp(port)
        cli = ['redis-cli', '-h', self.b.addr, '-p', port]
        self.a.run(f'head -c 700000 {shutil.which("redis-server")} >/tmp/value')
        said = [self.a.run(f'redis-cli -h {self.b.addr} -p {port} -x set big </tmp/value', **kw).out]
        for _ in range(TRIES if preloaded else 1):
            self.a.run(['redis-benchmark', '-h', self.b.addr, '-p', port, '-q', '-t', 'set,get', '-c', '3', '-n', '300',
                        '-d', '60000'], limit=120, **kw)
            if not preloaded or self.by_rdma():
                break
        for host, address in ((self.a, self.b.addr), (self.b, '127.0.0.1')):
            said.append(host.run(f'redis-cli -h {address} -p {port} --raw get big | head -c 700000 | cmp - /tmp/value',
                                 **kw).out)
        said.append(self.a.run([*cli, 'strlen', 'big'], **kw).out)
        server.kill('TERM')
        return said, self.by_rdma() if preloaded else 0

    def nginx(self, preloaded):
        """Two workers, files by sendfile and by writev, all of a row over one connection."""
        kw, port = self.environment(preloaded), str(next(PORTS))
        folder = f'/tmp/nginx.{port}'
        self.b.run(f"mkdir {folder}; cat >{folder}/conf <<'END'\n{NGINX.format(folder=folder, port=port)}\nEND\n" +
                   ''.join(f'head -c {n} {shutil.which("redis-server")} >{folder}/{n};' for n in FILES))
        server = self.b.spawn([shutil.which('nginx'), '-p', folder, '-c', f'{folder}/conf'], **kw)
        self.b.guest.wait_tcp(port)
        said = []
        for host, address in ((self.a, self.b.addr), (self.b, '127.0.0.1')):
            row = ' '.join(f'http://{address}:{port}/{way}/{n}' for way in ('send', 'copy') for n in 3 * FILES)
            for _ in range(TRIES if preloaded else 1):
                said.append(host.run(f'curl -sS {row} | sha256sum', **kw).out)
                if not preloaded or address != self.b.addr or self.by_rdma():
                    break
        server.kill('QUIT')
        said.append(self.b.run(f'grep -E "alert|emerg" {folder}/error.log', check=False).out)
        return sorted(set(said)), self.by_rdma() if preloaded else 0


def body(args):
    with hosts.near('programs') as (a, b):
        runs = Runs(a, b, args)
        for name, run in (('asyncio', lambda p: runs.echo('asyncio', p)), ('prefork', lambda p: runs.echo('prefork', p)),
                          ('redis', runs.redis), ('nginx', runs.nginx)):
            (bare, _), (said, moved) = run(False), run(True)
            assert said == bare, (said, bare)
            assert moved, f'{name}: nothing went by RDMA\n' + a.run(f'cat {runs.folder}/log').out
            print(f'ok {name}: {moved} bytes by RDMA')


if __name__ == '__main__':
    vhost.main_preloaded(body)
