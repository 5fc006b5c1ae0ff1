#!/usr/bin/env python3
"""Unmodified programs of the frameworks: workloads.py NAME. Prints "result HEX" and "time SECONDS".

The time is the median of a step's wall time after warm-up. Exit status 77: that framework, or a GPU
for it, is not there. The scripts are what a user would write; nothing in them knows of dlaccel. With
BENCH_DEVICE=cpu those that can run without a GPU do (Triton's with TRITON_INTERPRET=1), to see that they run at all.
"""
import hashlib
import os
import re
import statistics
import sys
import time

STEPS, WARM = int(os.environ.get("BENCH_STEPS", "100")), int(os.environ.get("BENCH_WARM", "30"))
DEVICE = os.environ.get("BENCH_DEVICE", "gpu")
PLACE = {"gpu": "cuda", "cpu": "cpu"}[DEVICE]  # as PyTorch says it


def skip(why):
    print(f"skip {why}")
    sys.exit(77)


def timed(step, wait, steps=STEPS, warm=WARM):
    times = []
    for i in range(warm + steps):
        start = time.perf_counter()
        step()
        wait()
        if i >= warm:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def report(data, seconds):
    print("result", hashlib.sha256(data).hexdigest()[:32])
    print("time", seconds)


def torch_or_skip():
    """Set to repeat itself: attention by plain kernels, no algorithm chosen by timing."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    try:
        import torch
    except ImportError as e:
        skip(e)
    if DEVICE == "gpu" and not torch.cuda.is_available():
        skip("torch sees no GPU")
    torch.manual_seed(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    return torch


def train(torch, model, batch, target, loss, compiled=False):
    model = model.to(PLACE)
    run = torch.compile(model) if compiled else model
    batch, target = batch.to(PLACE), target.to(PLACE)
    opt = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step():
        opt.zero_grad(set_to_none=True)
        loss(run(batch), target).backward()
        opt.step()

    seconds = timed(step, getattr(torch, PLACE).synchronize)
    data = b"".join(p.detach().cpu().numpy().tobytes() for p in model.parameters())
    report(data, seconds)


def mlp(torch, nn):
    return nn.Sequential(*[m for _ in range(8) for m in (nn.Linear(256, 256), nn.ReLU())], nn.Linear(256, 10))


def torch_mlp(compiled=False):
    torch = torch_or_skip()
    nn = torch.nn
    train(torch, mlp(torch, nn), torch.randn(16, 256), torch.randint(0, 10, (16,)), nn.CrossEntropyLoss(), compiled)


def torch_compile():
    torch_mlp(True)


def torch_lstm():
    torch = torch_or_skip()
    nn = torch.nn

    class Cells(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.out = nn.LSTMCell(64, 128), nn.Linear(128, 10)

        def forward(self, x):
            h = c = x.new_zeros(x.shape[0], 128)
            for t in range(x.shape[1]):
                h, c = self.cell(x[:, t], (h, c))
            return self.out(h)

    train(torch, Cells(), torch.randn(16, 32, 64), torch.randint(0, 10, (16,)), nn.CrossEntropyLoss())


def torch_gpt():
    torch = torch_or_skip()
    nn = torch.nn

    class Gpt(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(256, 128)
            layer = nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, batch_first=True)
            self.body, self.head = nn.TransformerEncoder(layer, 4), nn.Linear(128, 256)

        def forward(self, x):
            return self.head(self.body(self.emb(x))).transpose(1, 2)

    train(torch, Gpt(), torch.randint(0, 256, (1, 64)), torch.randint(0, 256, (1, 64)), nn.CrossEntropyLoss())


def torch_resnet50():
    torch = torch_or_skip()
    try:
        from torchvision.models import resnet50
    except ImportError as e:
        skip(e)
    train(torch, resnet50(), torch.randn(64, 3, 224, 224), torch.randint(0, 1000, (64,)), torch.nn.CrossEntropyLoss())


def jax():
    """Set to repeat itself: no algorithm chosen by timing, no sum in the order of arrival."""
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_autotune_level=0 --xla_gpu_deterministic_ops=true"
    try:
        import jax
        import jax.numpy as jnp
        import numpy
    except ImportError as e:
        skip(e)
    if jax.default_backend() != DEVICE:
        skip(f"jax sees no {DEVICE}")
    keys = jax.random.split(jax.random.PRNGKey(1), 8)
    weights = [jax.random.normal(k, (256, 256)) * 0.05 for k in keys]
    x = jax.random.normal(keys[0], (16, 256))

    def loss(ws, x):
        for w in ws:
            x = jnp.tanh(x @ w)
        return (x * x).mean()

    update = jax.jit(lambda ws, x: [w - 0.1 * g for w, g in zip(ws, jax.grad(loss)(ws, x))])
    state = [weights]

    def step():
        state[0] = update(state[0], x)

    seconds = timed(step, lambda: jax.block_until_ready(state[0]))
    report(b"".join(numpy.asarray(w).tobytes() for w in state[0]), seconds)


def cupy():
    try:
        import cupy
        cupy.cuda.runtime.getDeviceCount()
    except Exception as e:  # cupy raises its own kinds without a driver
        skip(e)
    a = cupy.arange(4096, dtype=cupy.float32) / 4096

    def step():
        nonlocal a
        for _ in range(50):
            a = a * 1.0001 + 0.5
            a -= a.astype(cupy.int32)

    seconds = timed(step, cupy.cuda.Device().synchronize)
    report(cupy.asnumpy(a).tobytes(), seconds)


def triton():
    torch = torch_or_skip()
    try:
        import triton
        import triton.language as tl
    except ImportError as e:
        skip(e)

    @triton.jit
    def scale(p, n, BLOCK: tl.constexpr):
        i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        x = tl.load(p + i, mask=i < n)
        tl.store(p + i, x * 1.0001 + 0.25, mask=i < n)

    x = torch.zeros(4096, device=PLACE)

    def step():
        for _ in range(100):
            scale[(4,)](x, 4096, BLOCK=1024)

    seconds = timed(step, getattr(torch, PLACE).synchronize)
    report(x.cpu().numpy().tobytes(), seconds)


def tinygrad():
    """By its own PTX: with NVRTC 13 on the path its other renderer, which goes first, crashes."""
    os.environ.setdefault("DEV", "CUDA:PTX")
    try:
        from tinygrad import Tensor, Device, nn
        from tinygrad.helpers import TRAINING
        Device["CUDA"]
    except Exception as e:  # tinygrad raises whatever its backend does
        skip(e)
    Tensor.manual_seed(1)
    TRAINING.value = 1
    one, two = nn.Linear(64, 128), nn.Linear(128, 10)
    opt = nn.optim.SGD([one.weight, one.bias, two.weight, two.bias], lr=0.01)
    x, y = Tensor.randn(32, 64).realize(), Tensor.randint(32, high=10).realize()

    def step():
        opt.zero_grad()
        two(one(x).relu()).sparse_categorical_crossentropy(y).backward()
        opt.step()

    seconds = timed(step, Device["CUDA"].synchronize, steps=min(STEPS, 30), warm=min(WARM, 10))
    report(one.weight.numpy().tobytes() + two.weight.numpy().tobytes(), seconds)


def ptx_of(header):
    """The text of the string in kernels.h."""
    with open(header) as f:
        lines = re.findall(r'^\s*"(.*)"', f.read(), re.M)
    return "".join(lines).encode().decode("unicode_escape").encode() + b"\0"


def pycuda():
    try:
        import numpy
        import pycuda.driver as cuda
        cuda.init()
        context = cuda.Device(0).make_context()
    except Exception as e:  # PyCUDA raises its own kinds without a driver
        skip(e)
    words = 64
    here = os.path.dirname(os.path.abspath(__file__))
    mix = cuda.module_from_buffer(ptx_of(os.path.join(here, "../../cuda/kernels.h"))).get_function("mix")
    host, stream = numpy.arange(words, dtype=numpy.uint32), cuda.Stream()
    a, b = cuda.to_device(host), cuda.to_device(host)

    def step():
        for k in range(100):
            to, of = (a, b) if k % 2 else (b, a)
            mix(to, of, numpy.uint32(k), numpy.uint32(words), grid=(1 + k * k % 11, 1), block=(words, 1, 1), stream=stream)

    seconds = timed(step, stream.synchronize)
    report(cuda.from_device_like(a, host).tobytes(), seconds)
    context.pop()


WORKLOADS = {f.__name__: f for f in (torch_mlp, torch_lstm, torch_gpt, torch_resnet50, torch_compile, jax, cupy,
                                     triton, tinygrad, pycuda)}

if __name__ == "__main__":
    WORKLOADS[sys.argv[1]]()
