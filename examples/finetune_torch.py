"""Fine-tunes a MONAI checkpoint, 3D, in PyTorch, and takes it to Keras and back.

    python examples/finetune_torch.py --epochs 4 --out finetuned-torch

First the new head alone, then everything. Killed at any time, the same command goes on
after the last finished epoch and ends with the bits that it would have had anyway.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from pretrained import brain
from torch.nn.functional import cross_entropy

import converters
import torch_vit
from converters.demo.data3d import QUADRANTS, mri_split

SEED, BATCH = 1, 64


class Training:
    """Model, optimizer, schedule and random state, saved and loaded together."""

    def __init__(self, model: torch_vit.ViT, rate: float, steps: int):
        self.model, self.epoch = model, 0
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(weights, rate, weight_decay=0.05)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.optimizer, steps
        )

    def save(self, path: Path) -> None:
        """Replaces the file in one step, so that it is whole at any time."""
        state = {
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": torch.get_rng_state(),  # order, noise, dropout
        }
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def resume(self, path: Path) -> None:
        """Everything as it was after the last finished epoch, if there was one."""
        if path.exists():
            state = torch.load(path, weights_only=True)
            self.epoch = state["epoch"]
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            torch.set_rng_state(state["random"])
            print(f"{path}: goes on after {self.epoch} epochs")


def fit(model, x, y, test, epochs: int, rate: float, path: Path) -> None:
    """Trains, or goes on where an earlier process was interrupted."""
    steps = len(x) // BATCH
    training = Training(model, rate, epochs * steps)
    training.resume(path)
    while training.epoch < epochs:
        model.train()
        for batch in torch.randperm(len(x))[: steps * BATCH].split(BATCH):
            noisy = x[batch] + 0.6 * torch.randn_like(x[batch])
            loss = cross_entropy(model(noisy), y[batch])
            training.optimizer.zero_grad()
            loss.backward()
            training.optimizer.step()
            training.schedule.step()
        training.epoch += 1
        training.save(path)
        print(f"epoch {training.epoch}: loss {loss:.3f}, {accuracy(model, *test):.1%}")


@torch.inference_mode()
def accuracy(model, x, y) -> float:
    """Share of right answers."""
    model.eval()
    return (model(x).argmax(-1) == y).double().mean().item()


def main() -> None:
    """Pretrains, fine-tunes, converts, compares."""
    parser = argparse.ArgumentParser(description="Fine-tunes a checkpoint in PyTorch.")
    parser.add_argument("--epochs", type=int, default=4, help="of each phase")
    parser.add_argument("--out", type=Path, default=Path("finetuned-torch"))
    parser.add_argument("--level", default="logits", help="of the comparison")
    args = parser.parse_args()
    n, out = args.epochs, args.out
    torch.manual_seed(SEED)

    brain(out / "pretrained.safetensors", epochs=n)
    split = mri_split()
    x, y = torch.from_numpy(split.train_x), torch.from_numpy(split.train_y)
    test = torch.from_numpy(split.test_x), torch.from_numpy(split.test_y)

    # What MONAI itself saves says neither image size nor heads: convert that first.
    model = torch_vit.ViT.from_pretrained(
        out / "pretrained.safetensors",
        num_classes=len(QUADRANTS),
        drop_rates={"drop_path_rate": 0.1},
    )
    print(f"the new head alone, {n} epochs")
    for name, weight in model.named_parameters():
        weight.requires_grad = name.startswith("head.")
    fit(model, x, y, test, n, 1e-2, out / "head.pt")
    print(f"everything, {n} epochs")
    model.requires_grad_(True)
    fit(model, x, y, test, n, 1e-3, out / "whole.pt")

    tuned, keras, back = (
        out / f"finetuned{end}"
        for end in (".safetensors", ".keras", "-monai.safetensors")
    )
    model.save_pretrained(tuned, force=True)
    print(converters.convert(tuned, keras, force=True, verify="weights"))
    parity = converters.verify(tuned, keras, level=args.level)
    print(parity.sentence)
    if not parity.passed:
        raise SystemExit("the converted model is another one")
    labels = {"labels": QUADRANTS}
    converters.convert(keras, back, to_dialect="monai", changes=labels, force=True)
    print(f"{back}: for monai.networks.nets.ViT(**arguments).load_state_dict")


if __name__ == "__main__":
    main()
