"""A model of 1.1 billion parameters in shards (4.5 GB) to `.keras`: memory and time.

    python benchmarks/convert_sharded.py [--folder FOLDER] [--shard-mb 1000]

The source is a folder as transformers saves it, `config.json`, an index and shards, of
a DINOv2 ViT-g with random weights. Each in a process of its own:

- make: writes it;
- copy: copies the shards, with fsync, and deletes the copy;
- convert: `converters.convert` to `.keras` with `verify="weights"`: everything checked,
  the written file proved, no model run.

Memory is sampled every 2 ms from /proc: anonymous (RssAnon), and the peak of all that
is resident, with the pages of mapped files (VmHWM). Target: at most 1 GB in total. It
takes about 9.5 GB on the disk, all of it deleted at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from convert_vit_b import MB, ROOT, Watch, anonymous

NEEDED = 10e9
TARGET = 1000 * MB
FIELDS = {
    "model_type": "dinov2",
    "architectures": ["Dinov2ForImageClassification"],
    "hidden_size": 1536,
    "num_hidden_layers": 40,
    "num_attention_heads": 24,
    "mlp_ratio": 4,
    "use_swiglu_ffn": True,
    "patch_size": 14,
    "image_size": 518,
    "num_channels": 3,
    "qkv_bias": True,
    "layer_norm_eps": 1e-6,
    "hidden_act": "gelu",
    "layerscale_value": 1.0,
    "id2label": {str(i): f"LABEL_{i}" for i in range(1000)},
    "label2id": {f"LABEL_{i}": i for i in range(1000)},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", help="where to write (default: a temporary folder)")
    parser.add_argument("--shard-mb", type=float, default=1000)
    parser.add_argument("--layers", type=int, default=FIELDS["num_hidden_layers"])
    parser.add_argument("--child", choices=list(CHILDREN), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        found = CHILDREN[arguments.child](Path(arguments.folder), arguments)
        print(json.dumps(found))
        return 0
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        free = shutil.disk_usage(folder).free
        if free < NEEDED:
            print(f"{free / 1e9:.0f} GB free, {NEEDED / 1e9:.0f} GB needed")
            return 1
        return compare(Path(folder), arguments)


def compare(folder: Path, arguments: argparse.Namespace) -> int:
    made = run("make", folder, arguments)
    copied = run("copy", folder, arguments)
    found = run("convert", folder, arguments)
    text = f"{made['shards']} shards, {made['bytes'] / 1e9:.2f} GB"
    print(f"source                   {text}, {found['parameters']:,} parameters")
    print(f"copy with fsync          {copied['seconds']:.1f} s")
    print(f"convert and prove        {found['seconds']:.1f} s")
    print(f"convert / copy           {found['seconds'] / copied['seconds']:.2f}")
    print(f"largest tensor           {made['largest'] / MB:.0f} MB")
    print(f"before converting        {found['before'] / MB:.0f} MB anonymous")
    print(f"anonymous peak           {found['anonymous'] / MB:.0f} MB")
    checks = [
        (
            found["peak"] <= TARGET,
            f"peak in total (VmHWM)    {found['peak'] / MB:.0f} MB "
            f"(target {TARGET / MB:.0f} MB)",
        ),
        (
            found["proved"] == found["tensors"],
            f"proved tensors           {found['proved']} of {found['tensors']}",
        ),
        (
            not found["frameworks"],
            f"frameworks imported      {found['frameworks'] or 'none'}",
        ),
    ]
    for good, line in checks:
        print(f"{'ok  ' if good else 'MISS'} {line}")
    return 0 if all(good for good, _ in checks) else 1


def run(child: str, folder: Path, arguments: argparse.Namespace) -> dict:
    command = [sys.executable, __file__, "--child", child, "--folder", str(folder)]
    command += ["--shard-mb", str(arguments.shard_mb), "--layers", arguments.layers]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [str(word) for word in command],
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if result.returncode:
        raise SystemExit(f"{child} failed")
    return json.loads(result.stdout.splitlines()[-1])


def make(folder: Path, arguments: argparse.Namespace) -> dict:
    """The folder; one shard in memory at a time."""
    import numpy as np
    from safetensors.numpy import save_file

    from converters.libraries import find
    from vit_config import ViTConfig

    fields = {**FIELDS, "num_hidden_layers": arguments.layers}
    config = ViTConfig.from_dialect("huggingface", fields)
    _, (variant,) = find("huggingface@dinov2")
    shapes = dict(variant.plan(config).source_shapes)
    shapes |= {name: fill.shape for name, fill in variant.fills(config).items()}
    random = np.random.default_rng(0)
    hub = folder / "hub"
    hub.mkdir()
    groups: list[list[str]] = [[]]
    size = largest = total = 0
    for name, shape in sorted(shapes.items()):
        nbytes = 4 * int(np.prod(shape))
        if groups[-1] and size + nbytes > arguments.shard_mb * MB:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size, total = size + nbytes, total + nbytes
        largest = max(largest, nbytes)
    where = {}
    for number, names in enumerate(groups, 1):
        file = f"model-{number:05d}-of-{len(groups):05d}.safetensors"
        shard = {n: random.random(shapes[n], np.float32) - 0.5 for n in names}
        save_file(shard, hub / file, {"format": "pt"})
        where |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (hub / "model.safetensors.index.json").write_text(json.dumps(index))
    (hub / "config.json").write_text(json.dumps(fields))
    os.sync()
    return {"shards": len(groups), "bytes": total, "largest": largest}


def copy(folder: Path, arguments: argparse.Namespace) -> dict:
    """Copies the shards to the disk, and deletes them."""
    target = folder / "copy"
    start = time.perf_counter()
    for path in sorted((folder / "hub").glob("*.safetensors")):
        with path.open("rb") as reader, target.open("ab") as writer:
            while block := reader.read(1 << 20):
                writer.write(block)
            writer.flush()
            os.fsync(writer.fileno())
    seconds = time.perf_counter() - start
    target.unlink()
    return {"seconds": seconds}


def convert(folder: Path, arguments: argparse.Namespace) -> dict:
    """Converts, with the memory watched."""
    import converters
    import converters.conversion.convert
    import converters.files.keras_file

    before = anonymous()
    with Watch() as watch:
        start = time.perf_counter()
        report = converters.convert(
            folder / "hub", folder / "vit_g.keras", verify="weights"
        )
        seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "before": before,
        "anonymous": watch.peak,
        "peak": high_water(),
        "tensors": report.tensors,
        "parameters": report.parameters,
        "proved": report.proved,
        "frameworks": sorted(
            {"tensorflow", "keras", "torch", "jax"} & set(sys.modules)
        ),
    }


def high_water() -> int:
    """VmHWM of this process, in bytes (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmHWM in /proc/self/status")


CHILDREN = {"make": make, "copy": copy, "convert": convert}

if __name__ == "__main__":
    sys.exit(main())
