#!/usr/bin/env python3
"""Trains small models of scikit-learn's digits with tinygrad, on the device that DEV names.

The script knows nothing of the simulated device. It writes losses and weights of every model to the
file given by --out (numpy's npz), so that runs can be compared bit for bit or within a tolerance.
"""
import argparse
import numpy as np
from sklearn.datasets import load_digits
from tinygrad import Tensor, TinyJit, nn
from tinygrad.helpers import TRAINING

BATCH = 32


class Mlp:
    def __init__(self, w):
        self.w1, self.b1, self.w2, self.b2 = w(64, 64), w(64), w(64, 10), w(10)

    def __call__(self, x):
        return (x @ self.w1 + self.b1).relu() @ self.w2 + self.b2


class Conv:
    """Convolution and batch norm, twice."""

    def __init__(self, w):
        self.c1, self.c2, self.out = w(8, 1, 3, 3), w(8, 8, 3, 3), w(8 * 4, 10)
        self.n1, self.n2 = nn.BatchNorm(8), nn.BatchNorm(8)

    def __call__(self, x):
        x = x.reshape(-1, 1, 8, 8)
        x = self.n1(x.conv2d(self.c1, padding=1)).relu().max_pool2d(2)
        x = self.n2(x.conv2d(self.c2, padding=1)).relu().max_pool2d(2)
        return x.reshape(-1, 8 * 4) @ self.out


class Lstm:
    """Eight steps over the rows of the picture."""

    def __init__(self, w):
        self.wx, self.wh, self.b, self.out = w(8, 64), w(16, 64), w(64), w(16, 10)

    def __call__(self, x):
        x = x.reshape(-1, 8, 8)
        h = c = Tensor.zeros(x.shape[0], 16)
        for t in range(8):
            i, f, g, o = (x[:, t] @ self.wx + h @ self.wh + self.b).chunk(4, dim=1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return h @ self.out


class Transformer:
    """One block of attention over the rows."""

    def __init__(self, w):
        self.emb, self.qkv, self.proj = w(8, 16), w(16, 48), w(16, 16)
        self.up, self.down, self.out = w(16, 32), w(32, 16), w(16, 10)
        self.ln1, self.ln2 = nn.LayerNorm(16), nn.LayerNorm(16)

    def __call__(self, x):
        x = x.reshape(-1, 8, 8) @ self.emb
        q, k, v = (self.ln1(x) @ self.qkv).reshape(-1, 8, 3, 2, 8).permute(2, 0, 3, 1, 4)
        a = q.scaled_dot_product_attention(k, v).transpose(1, 2).reshape(-1, 8, 16)
        x = x + a @ self.proj
        x = x + (self.ln2(x) @ self.up).relu() @ self.down
        return x.mean(axis=1) @ self.out


MODELS = {"mlp": Mlp, "conv": Conv, "lstm": Lstm, "transformer": Transformer}


def train(name, steps, jit):
    rng = np.random.default_rng(7)

    def weight(*shape):
        return Tensor((rng.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[:-1])))).astype(np.float32))

    pixels, digits = load_digits(return_X_y=True)
    pixels, digits = (pixels / 16).astype(np.float32), digits.astype(np.int32)
    model = MODELS[name](weight)
    params = nn.state.get_parameters(model)
    opt = nn.optim.Adam(params, lr=0.01)

    def step(x, y):
        opt.zero_grad()
        loss = model(x).sparse_categorical_crossentropy(y).backward()
        opt.step()
        return loss.realize()

    run = TinyJit(step) if jit else step
    losses = []
    for i in range(steps):
        at = slice(i * BATCH, (i + 1) * BATCH)
        losses.append(run(Tensor(pixels[at]).realize(), Tensor(digits[at]).realize()).item())
    return np.array(losses), [p.numpy() for p in params]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--models", default=",".join(MODELS))
    ap.add_argument("--steps", type=int, default=4)
    ap.add_argument("--jit", action="store_true")
    ap.add_argument("--out", required=True)
    args = ap.parse_args()
    TRAINING.value = 1
    result = {}
    for name in args.models.split(","):
        losses, weights = train(name, args.steps, args.jit)
        print(name, " ".join(f"{x:.6f}" for x in losses), flush=True)
        result[f"{name}.loss"] = losses
        for i, w in enumerate(weights):
            result[f"{name}.{i}"] = w
    np.savez(args.out, **result)


if __name__ == "__main__":
    main()
