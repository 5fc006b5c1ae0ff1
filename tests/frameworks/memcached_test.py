"""memcached with four worker threads: values of all sizes, pipelined, over many connections."""
import json
import socket
import sys

import pair

SIZES = (0, 1, 100, 4096, 65536, 250000, 1 << 20, 7 << 20)


class Client:
    def __init__(self, port):
        self.file = socket.create_connection(("127.0.0.1", port), 60).makefile("rwb")

    def set(self, key, value):
        self.file.write(b"set %s 0 0 %d\r\n%s\r\n" % (key.encode(), len(value), value))

    def get(self, *keys):
        self.file.write(b"get %s\r\n" % " ".join(keys).encode())
        self.file.flush()
        found = {}
        while (line := self.file.readline()) != b"END\r\n":
            assert line.startswith(b"VALUE"), line
            _, key, _, size = line.split()
            found[key.decode()] = self.file.read(int(size) + 2)[:-2]
        return found

    def stored(self):
        self.file.flush()
        return self.file.readline() == b"STORED\r\n"


def drive(port):
    results = {}
    client = Client(port)
    for size in SIZES:
        client.set(f"k{size}", pair.pattern(size, size))
        assert client.stored(), size
        assert client.get(f"k{size}") == {f"k{size}": pair.pattern(size, size)}, size
        results[f"size/{size}"] = True
    for i in range(500):
        client.set(f"p{i}", pair.pattern(10000, i))
    results["pipelined"] = sum(client.stored() for _ in range(500))
    got = client.get(*[f"p{i}" for i in range(500)])
    results["many"] = pair.digest(b"".join(got[f"p{i}"] for i in range(500)))
    clients = [Client(port) for _ in range(100)]
    for turn in range(5):
        for i, one in enumerate(clients):
            one.set(f"c{i}", pair.pattern(20000, i + turn))
        assert all(one.stored() for one in clients)
    results["connections"] = pair.digest(b"".join(c.get(f"c{i}")[f"c{i}"] for i, c in enumerate(clients)))
    return results


def exchange(server, client):
    memcached, port = pair.need("memcached"), pair.free_port()
    argv = [memcached, "-l", "127.0.0.1", "-p", port, "-U", "0", "-t", "4", "-I", "16m", "-m", "256", "-u", "root"]
    with pair.serve(argv, server, port):
        return json.loads(pair.run([sys.executable, __file__, "drive", port], client))


if __name__ == "__main__":
    if sys.argv[1:2] == ["drive"]:
        print(json.dumps(drive(int(sys.argv[2]))))
    else:
        pair.compare(exchange)
