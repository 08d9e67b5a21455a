"""Fine-tunes a Hugging Face checkpoint in Keras and takes it back to its library.

    python examples/finetune_keras.py --epochs 8 --out finetuned-keras

First the new head alone, then everything. Killed at any time, the same command goes on
after the last finished epoch and ends with the bits that it would have had anyway.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np
from pretrained import digits, digits_split

import converters
import keras_vit

SEED, BATCH = 1, 32
CLASSES = range(5, 10)  # the checkpoint knows the digits 0 to 4


class Batches(keras.utils.PyDataset):
    """Noisy batches whose order and noise depend on the epoch, not on the process."""

    def __init__(self, x: np.ndarray, y: np.ndarray):
        super().__init__()
        self.x, self.y, self.epoch = x, y, 0

    def __len__(self) -> int:
        return len(self.x) // BATCH

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        order = np.random.default_rng([SEED, self.epoch]).permutation(len(self.x))
        batch = order[index * BATCH : (index + 1) * BATCH]
        noise = np.random.default_rng([SEED, self.epoch, index])
        x = self.x[batch]
        return x + 0.2 * noise.standard_normal(x.shape, "float32"), self.y[batch]

    def tell_epoch(self) -> keras.callbacks.Callback:
        """Keras does not tell its data which epoch begins."""
        return keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: setattr(self, "epoch", epoch)
        )


def fit(model, train: Batches, test: tuple, epochs: range, rate: float, path: Path):
    """Trains from the first to the last of the epochs, or goes on in the middle."""
    steps = len(epochs) * len(train)
    schedule = keras.optimizers.schedules.CosineDecay(
        rate / 10, steps, warmup_target=rate, warmup_steps=steps // 10
    )
    model.compile(  # needed again whenever what is trainable has changed
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=0.05),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(
        train,
        validation_data=test,
        initial_epoch=epochs.start,
        epochs=epochs.stop,
        shuffle=False,  # `Batches` does it; Keras would forget how
        verbose=2,
        callbacks=[
            train.tell_epoch(),
            keras.callbacks.ModelCheckpoint(path),
            keras.callbacks.BackupAndRestore(
                path.with_suffix(".backup"),
                double_checkpoint=True,  # one of them is whole whenever we are killed
                delete_checkpoint=False,  # a finished phase is not begun again
            ),
        ],
    )


def main() -> None:
    """Pretrains, fine-tunes, converts, compares."""
    parser = argparse.ArgumentParser(description="Fine-tunes a checkpoint in Keras.")
    parser.add_argument("--epochs", type=int, default=8, help="of each phase")
    parser.add_argument("--out", type=Path, default=Path("finetuned-keras"))
    parser.add_argument("--dtype", default="float32", help="or mixed_bfloat16, ...")
    parser.add_argument("--level", default="logits", help="of the comparison")
    args = parser.parse_args()
    n, out = args.epochs, args.out

    digits(out / "pretrained", epochs=2 * n)
    keras.utils.set_random_seed(SEED)  # after that, which a second start leaves out
    split = digits_split(CLASSES)
    test = (np.moveaxis(split.test_x, 1, -1), split.test_y)
    train = Batches(np.moveaxis(split.train_x, 1, -1), split.train_y)

    model = keras_vit.ViT.from_pretrained(
        out / "pretrained",
        num_classes=len(CLASSES),
        drop_rates={"drop_path_rate": 0.1},
        dtype=args.dtype,
    )
    print(f"the new head alone, epochs 1 to {n}")
    paths = [model.relative_path(weight) for weight in model.weights]
    model.freeze([path for path in paths if not path.startswith("head/")])
    fit(model, train, test, range(n), 1e-2, out / "head.keras")
    print(f"everything, epochs {n + 1} to {2 * n}")
    # Anew: a model that was resumed begins every later fit where that one began.
    model = keras_vit.load_model(out / "head.keras", compile=False)
    model.freeze([])
    fit(model, train, test, range(n, 2 * n), 1e-3, out / "whole.keras")

    # To PyTorch: a checkpoint of the training gives its weights.
    tuned, back = out / "finetuned.safetensors", out / "finetuned-huggingface"
    print(converters.convert(out / "whole.keras", tuned, force=True))
    parity = converters.verify(out / "whole.keras", tuned, level=args.level)
    print(parity.sentence)
    if not parity.passed:
        raise SystemExit("the converted model is another one")
    labels = {"labels": [str(digit) for digit in CLASSES]}
    converters.convert(
        tuned, back, to_dialect="huggingface", changes=labels, force=True
    )
    print(f"{back}: for ViTForImageClassification.from_pretrained")


if __name__ == "__main__":
    main()
