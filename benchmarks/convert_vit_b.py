"""timm's ViT-B (346 MB) to `.keras`, against the least any converter must do.

    python benchmarks/convert_vit_b.py [--repeats 5] [--keras-hub PYTHON]

In one run, alternating, each in a process of its own:

- floor: a copy of the file with fsync, and one transpose of every matrix in it;
- convert: `converters.convert` of a file with timm's names and no config, by a preset,
  with `verify="weights"`: everything checked, the written file proved, no model run;
- with `--keras-hub` (the Python of an environment that has keras-hub, TensorFlow and
  transformers): `from_preset` of the same size of model from a local Hugging Face
  folder, and `save`.

Memory is the anonymous resident memory (RssAnon) of the process, sampled every 2 ms,
beyond what it had after its imports. Targets: at most 4 floors of time; at most 64 MB
and twice the largest tensor; at least 4 times as fast as keras-hub; no TensorFlow.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MB = 1e6
SOURCE = "model.safetensors"
PRESET = "vit_base_patch16_224"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--keras-hub", metavar="PYTHON")
    parser.add_argument("--folder", help="where to write (default: a temporary folder)")
    parser.add_argument("--child", choices=list(CHILDREN), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        CHILDREN[arguments.child](Path(arguments.folder))
        return 0
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        return compare(Path(folder), arguments)


def compare(folder: Path, arguments: argparse.Namespace) -> int:
    run(sys.executable, "make", folder)
    children = {"floor": sys.executable, "convert": sys.executable}
    if arguments.keras_hub:
        run(arguments.keras_hub, "hub_make", folder)
        children["keras_hub"] = arguments.keras_hub
    times: dict[str, list[float]] = {name: [] for name in children}
    last = {}
    for _ in range(arguments.repeats):
        for name, python in children.items():
            last[name] = run(python, name, folder)
            times[name].append(last[name]["seconds"])
    ratios = [c / f for c, f in zip(times["convert"], times["floor"], strict=True)]
    ratio = statistics.median(ratios)
    found = last["convert"]
    limit = 64 * MB + 2 * found["largest"]
    print(f"{'':12} median s   all")
    for name, values in times.items():
        every = " ".join(f"{value:.2f}" for value in values)
        print(f"{name:12} {statistics.median(values):8.2f}   {every}")
    checks = [
        (ratio <= 4, f"convert / floor          {ratio:.2f} (target 4)"),
        (
            found["memory"] <= limit,
            f"memory beyond imports    {found['memory'] / MB:.0f} MB "
            f"(target {limit / MB:.0f} MB, largest tensor {found['largest'] / MB:.0f})",
        ),
        (
            found["proved"] == found["tensors"],
            f"proved tensors           {found['proved']}",
        ),
        (
            not found["frameworks"],
            f"frameworks imported      {found['frameworks'] or 'none'}",
        ),
    ]
    if "keras_hub" in times:
        pairs = zip(times["keras_hub"], times["convert"], strict=True)
        gain = statistics.median(hub / own for hub, own in pairs)
        checks.append((gain >= 4, f"keras-hub / convert      {gain:.2f} (target 4)"))
    for good, text in checks:
        print(f"{'ok  ' if good else 'MISS'} {text}")
    return 0 if all(good for good, _ in checks) else 1


def run(python: str, child: str, folder: Path) -> dict:
    command = [python, __file__, "--child", child, "--folder", str(folder)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        command, env=env, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise SystemExit(f"{child} failed:\n{result.stderr}")
    return json.loads(result.stdout.splitlines()[-1])


def make(folder: Path) -> None:
    """A ViT-B with random weights, as `timm` users save it."""
    import numpy as np
    from safetensors.numpy import save_file

    shapes = timm().plan(config()).source_shapes
    random = np.random.default_rng(0)
    weights = {n: random.standard_normal(s, np.float32) for n, s in shapes.items()}
    save_file(weights, folder / SOURCE, {"format": "pt"})
    print("{}")


def config():
    from vit_config import ViTConfig

    return ViTConfig.from_dialect("timm", {"architecture": PRESET})


def timm():
    """How timm names the weights."""
    from converters.libraries import find

    return find("timm")[1][0]


def floor(folder: Path) -> None:
    """Copies the file to the disk and transposes every matrix once."""
    import numpy as np

    source, target = folder / SOURCE, folder / "copy.safetensors"
    target.unlink(missing_ok=True)
    header = json.loads(source.read_bytes()[8 : 8 + _header_length(source)])
    start = time.perf_counter()
    with source.open("rb") as reader, target.open("wb") as writer:
        while block := reader.read(1 << 20):
            writer.write(block)
        writer.flush()
        os.fsync(writer.fileno())
    copied = time.perf_counter()
    base = 8 + _header_length(source)
    with source.open("rb") as reader:
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            reader.seek(base + begin)
            array = np.empty((end - begin) // 4, np.float32)
            reader.readinto(array)
            np.ascontiguousarray(array.reshape(entry["shape"]).T)
    done = time.perf_counter()
    print(json.dumps({"seconds": done - start, "copy": copied - start}))


def _header_length(path: Path) -> int:
    with path.open("rb") as file:
        return int.from_bytes(file.read(8), "little")


def convert(folder: Path) -> None:
    """Converts, with the memory watched."""
    import converters
    import converters.conversion.convert
    import converters.files.keras_file

    target = folder / "vit_b.keras"
    target.unlink(missing_ok=True)
    before = anonymous()
    with Watch() as watch:
        start = time.perf_counter()
        report = converters.convert(
            folder / SOURCE, target, preset=PRESET, verify="weights"
        )
        seconds = time.perf_counter() - start
    frameworks = {"tensorflow", "keras", "torch", "jax"} & set(sys.modules)
    shapes = timm().plan(config()).source_shapes.values()
    largest = max(_product(shape) for shape in shapes) * 4
    print(
        json.dumps(
            {
                "seconds": seconds,
                "memory": watch.peak - before,
                "largest": largest,
                "proved": report.proved,
                "tensors": report.tensors,
                "frameworks": sorted(frameworks),
            }
        )
    )


def _product(shape) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def hub_make(folder: Path) -> None:
    """A Hugging Face folder of the same model, random weights."""
    import transformers

    model = transformers.ViTForImageClassification(
        transformers.ViTConfig(num_labels=1000)
    )
    model.save_pretrained(folder / "hub")
    # As `ViTImageProcessor` writes it, which wants torchvision to do so.
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 224, "width": 224},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "rescale_factor": 1 / 255,
        "resample": 2,
    }
    text = json.dumps(processor)
    (folder / "hub" / "preprocessor_config.json").write_text(text)
    print("{}")


def keras_hub(folder: Path) -> None:
    """What keras-hub needs for the same: load the preset and save."""
    import keras_hub

    start = time.perf_counter()
    model = keras_hub.models.ImageClassifier.from_preset(str(folder / "hub"))
    model.save(folder / "hub.keras")
    print(json.dumps({"seconds": time.perf_counter() - start}))


class Watch(threading.Thread):
    """Samples the process' anonymous memory until it is told to stop."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self.running = True

    def run(self) -> None:
        while self.running:
            self.peak = max(self.peak, anonymous())
            time.sleep(0.002)

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.running = False
        self.join()


def anonymous() -> int:
    """RssAnon of this process, in bytes (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no RssAnon in /proc/self/status")


CHILDREN = {
    "make": make,
    "floor": floor,
    "convert": convert,
    "hub_make": hub_make,
    "keras_hub": keras_hub,
}

if __name__ == "__main__":
    sys.exit(main())
