"""redis-server with clients, redis-benchmark and a replica.

The primary stands for the server of the mixed runs; the replica and all clients for the client.
"""
import contextlib
import json
import socket
import sys
import tempfile
import time

import pair

SIZES = (0, 1, 100, 5000, 16384, 65536, 250000, 1 << 20, 8 << 20)


class Client:
    def __init__(self, port):
        self.file = socket.create_connection(("127.0.0.1", port), 60).makefile("rwb")

    def send(self, *words):
        words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        self.file.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))

    def reply(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        return int(rest) if kind == b":" else rest

    def __call__(self, *words):
        self.send(*words)
        self.file.flush()
        return self.reply()


@contextlib.contextmanager
def redis(env, *options):
    server, port = pair.need("redis-server"), pair.free_port()
    with tempfile.TemporaryDirectory() as folder:
        argv = [server, "--port", port, "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--enable-debug-command",
                "yes", "--repl-diskless-sync-delay", "0", *options]
        with pair.serve(argv, env, port):
            yield port


def drive(port, results):
    """In a process of its own: main() of this file in the client's environment."""
    client = Client(port)
    for size in SIZES:
        client("SET", f"k{size}", pair.pattern(size, size))
        assert client("GET", f"k{size}") == pair.pattern(size, size), size
        client("APPEND", f"k{size}", b"tail")
        results[f"strlen/{size}"] = client("STRLEN", f"k{size}")
    for i in range(20000):
        client.send("RPUSH", "list", i)
    client.file.flush()
    results["pipelined"] = sum(client.reply() for _ in range(20000))
    results["range"] = pair.digest(b" ".join(client("LRANGE", "list", 0, -1)))
    for i in range(200):
        client.send("SET", f"big{i}", pair.pattern(100000, i))
    client.file.flush()
    results["big"] = [client.reply() for _ in range(200)].count(b"OK")
    results["mget"] = pair.digest(b"".join(client("MGET", *[f"big{i}" for i in range(200)])))
    subscriber = Client(port)
    subscriber("SUBSCRIBE", "news")
    for i in range(300):
        client("PUBLISH", "news", pair.pattern(3000, i))
    results["published"] = pair.digest(b"".join(subscriber.reply()[2] for _ in range(300)))
    results["digest"] = client("DEBUG", "DIGEST").decode()


def benchmark(port, client_env):
    bench = pair.need("redis-benchmark")
    base = [bench, "-p", port, "-r", "1000", "-q", "-e", "--csv"]
    lines = []
    for options in (["-n", "20000", "-c", "20", "-t", "set,get,incr,lpush,mset"],
                    ["-n", "20000", "-P", "32", "-c", "8", "-t", "set,get"],
                    ["-n", "300", "-c", "4", "-d", str(1 << 20), "-t", "set,get"],
                    ["-n", "20000", "--threads", "2", "-c", "16", "-d", "4096", "-t", "set,get"]):
        output = pair.run([*base, *options], client_env).decode()
        assert "rror" not in output, output
        lines += [line.split(",")[0] for line in output.splitlines()]
    return lines


def in_step(primary, replica, seconds=60):
    """Both digests, once the replica has everything."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        both = primary("DEBUG", "DIGEST"), replica("DEBUG", "DIGEST")
        if both[0] == both[1]:
            return True
        time.sleep(0.2)
    return False


def exchange(server, client):
    with redis(server) as port:
        results = json.loads(pair.run([sys.executable, __file__, "drive", port], client))
        with redis(client, "--replicaof", f"127.0.0.1 {port}") as copy:
            primary, replica = Client(port), Client(copy)
            results["replica follows"] = in_step(primary, replica)
            results["replica's digest"] = replica("DEBUG", "DIGEST").decode() == results["digest"]
            results["benchmark"] = benchmark(port, client)
            results["replica after the load"] = in_step(primary, replica)
    return results


def main():
    if sys.argv[1:2] == ["drive"]:
        results = {}
        drive(int(sys.argv[2]), results)
        print(json.dumps(results))
    else:
        pair.compare(exchange)


if __name__ == "__main__":
    main()
