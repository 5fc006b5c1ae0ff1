"""Train a classifier on scikit-learn's digits with DistributedDataParallel.

    torchrun --nproc-per-node 2 examples/train_digits.py
"""
import argparse
import hashlib
import statistics
import time

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


def parse_args():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16, help="samples per rank and step")
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    return parser.parse_args()


def load_data():
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images, dtype=torch.float32) / 16
    labels = torch.tensor(labels)
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels, test_size=0.2, random_state=0)
    return TensorDataset(train_x, train_y), TensorDataset(test_x, test_y)


def build_model(width):
    return nn.Sequential(
        nn.Linear(64, width), nn.ReLU(),
        nn.Linear(width, width), nn.ReLU(),
        nn.Linear(width, 10))


def train_epoch(model, loader, optimizer):
    step_times, losses = [], []
    for images, labels in loader:
        start = time.perf_counter()
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        step_times.append(time.perf_counter() - start)
        losses.append(loss.item())
    return step_times, sum(losses) / len(losses)


@torch.no_grad()
def accuracy(model, dataset):
    images, labels = dataset.tensors
    return (model(images).argmax(1) == labels).float().mean().item()


def weights_digest(model):
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def main():
    args = parse_args()
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    torch.manual_seed(0)

    train_set, test_set = load_data()
    sampler = DistributedSampler(train_set, seed=0)
    loader = DataLoader(train_set, batch_size=args.batch_size, sampler=sampler, drop_last=True)
    model = DistributedDataParallel(build_model(args.width))
    optimizer = torch.optim.SGD(model.parameters(), lr=args.learning_rate, momentum=0.9)

    step_times = []
    for epoch in range(args.epochs):
        sampler.set_epoch(epoch)
        times, loss = train_epoch(model, loader, optimizer)
        step_times += times
        if rank == 0:
            print(f"epoch {epoch}: loss {loss:.4f}", flush=True)

    if rank == 0:
        print(f"test accuracy: {accuracy(model.module, test_set):.4f}")
        print(f"step: {1000 * statistics.median(step_times):.2f} ms (median of {len(step_times)})")
        print(f"weights: sha256 {weights_digest(model.module)}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
