"""torch.distributed over gloo: gloo.py WORLD BACKEND, one process a rank.

Rank 0 stands for the server of the mixed runs, the others for the client.
"""
import subprocess
import sys

import pair


def start(rank, world, port, backend, env):
    argv = [sys.executable, pair.HERE / "gloo_rank.py", str(rank), str(world), str(port), backend]
    return subprocess.Popen(argv, env=dict(env, OMP_NUM_THREADS="1"), stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(processes):
    results, bad = {}, []
    for rank, process in enumerate(processes):
        output = process.communicate(timeout=400)[0]
        results.update(line.rsplit(" ", 1) for line in output.splitlines() if line.startswith("result "))
        if process.returncode:
            bad.append(f"rank {rank} ended with {process.returncode}: {output[-3000:]}")
    if bad:
        raise RuntimeError("\n".join(bad))
    return results


def exchange(world, backend, server, client):
    port = pair.free_port()
    processes = [start(r, world, port, backend, server if r == 0 else client) for r in range(world)]
    try:
        return finish(processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main():
    world, backend = int(sys.argv[1]), sys.argv[2]
    try:
        import torch.distributed
    except ImportError as error:
        pair.skip(f"{error}: run tools/check")
    if not torch.distributed.is_gloo_available():
        pair.skip("this PyTorch has no gloo")
    # Rank 0 is a client of its own store; of three ranks two are clients.
    to_itself = ("server only", "client only") if world > 2 else ("server only",)
    pair.compare(lambda server, client: exchange(world, backend, server, client), to_itself=to_itself)


if __name__ == "__main__":
    main()
