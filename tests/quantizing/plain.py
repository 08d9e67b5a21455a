"""A fresh process that loads `.keras` files as Keras does, and tells what is in them.

python -m tests.quantizing.plain INPUTS.npy OUT.npz MODEL.keras...
"""

import sys

import keras
import numpy as np

import keras_vit  # registers the classes; the loader is Keras' own

x = np.load(sys.argv[1])
found = {}
for index, path in enumerate(sys.argv[3:]):
    model = keras.models.load_model(path)
    vit = getattr(model, "vit", model)
    outputs = model(keras.ops.convert_to_tensor(x), training=False)
    found[f"{index}:outputs"] = keras.ops.convert_to_numpy(
        keras.ops.stop_gradient(outputs)
    )
    for weight in vit.weights:
        value = keras.ops.convert_to_numpy(keras.ops.stop_gradient(weight.value))
        found[f"{index}:{vit.relative_path(weight)}"] = value
np.savez(sys.argv[2], **found)
print(keras_vit.__name__)
