"""Runs an example and kills the process in an epoch of its fine-tuning.

`python -m tests.training.killed EPOCH SCRIPT OPTIONS...`. Epochs are counted from 0
over both phases; the kill is in the middle of one, after the first.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_keras(epoch: int) -> None:
    import keras

    class Killer(keras.callbacks.BackupAndRestore):
        def on_epoch_begin(self, number: int, logs: Any = None) -> None:
            self.number = number

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if (self.number, batch) == (epoch, 7):
                kill()

    keras.callbacks.BackupAndRestore = Killer


def kill_torch(epoch: int) -> None:
    import torch

    counts = {"saved": 0, "steps": 0}
    save, step = torch.save, torch.optim.AdamW.step

    def count(*args: Any, **kwargs: Any) -> None:
        save(*args, **kwargs)
        counts["saved"] += 1
        counts["steps"] = 0

    def stop(self: Any, *args: Any, **kwargs: Any) -> Any:
        counts["steps"] += 1
        if (counts["saved"], counts["steps"]) == (epoch, 7):  # none saved: pretraining
            kill()
        return step(self, *args, **kwargs)

    torch.save, torch.optim.AdamW.step = count, stop


if __name__ == "__main__":
    del sys.argv[0]
    after, script = int(sys.argv.pop(0)), sys.argv[0]
    sys.path.insert(0, str(Path(script).parent))
    (kill_keras if "keras" in script else kill_torch)(after)
    runpy.run_path(script, run_name="__main__")
