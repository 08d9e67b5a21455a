"""What somebody else would run: an artifact and its runtime, nothing of ours.

Run with `python -I`; `KIND ARTIFACT FOLDER`. Imports of our packages and of Keras fail.
"""

import sys
from pathlib import Path

OURS = {"vit_config", "torch_vit", "keras_vit", "converters", "keras", "tf_keras"}


class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, *rest, **more):
        if name.partition(".")[0] in OURS:
            return None
        return self.finder.find_spec(name, *rest, **more)

    def __getattr__(self, name):
        return getattr(self.finder, name)


sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]

import numpy as np  # noqa: E402


def saved_model(path, given, folder):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path / "1"))
    found = {}
    for name, function in loaded.signatures.items():
        (spec,) = function.structured_input_signature[1].values()
        if name == "serve_bytes":
            files = [
                (folder / f"{i}.bytes").read_bytes() for i in range(int(given["count"]))
            ]
            answer = function(**{spec.name: tf.constant(files)})
        else:
            answer = function(**{spec.name: tf.constant(given["x"])})
        found |= {f"{name}:{k}": v.numpy() for k, v in answer.items()}
        found[f"{name}:input"] = np.array([spec.name, str(spec.shape)])
    return found


def torch(path, given, folder):
    import torch

    inside = {"config.json": "", "labels.txt": ""}
    model = torch.export.load(path, extra_files=inside).module()
    found = {}
    for count in (1, len(given["x"])):
        with torch.no_grad():
            answer = model(torch.from_numpy(given["x"][:count]))
        found |= {f"{count}:{k}": v.numpy() for k, v in answer.items()}
    return found | {name: np.array(text) for name, text in inside.items()}


kind, artifact, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
with np.load(folder / "given.npz") as given:
    found = {"saved_model": saved_model, "torch": torch}[kind](artifact, given, folder)
if present := OURS & {name.partition(".")[0] for name in sys.modules}:
    raise SystemExit(f"imported: {present}")
found = {
    name: np.array([v.decode() for v in value]) if value.dtype == object else value
    for name, value in found.items()
}
np.savez(folder / "found.npz", **found)
