"""Loading a saved model so that nothing can be wrong unnoticed."""

import json
import zipfile
from os import PathLike, fspath
from pathlib import Path

import keras

from keras_vit.guard import WeightsError, all_layers
from keras_vit.init import no_init
from keras_vit.pipeline import Pipeline
from keras_vit.vit import ViT


def load_model(path: str | PathLike[str], *, dtype=None, **kwargs) -> keras.Model:
    """As `keras.models.load_model`, faster, and sure that every weight arrived.

    Faster, because no random weights are drawn that the file then overwrites.

    Args:
        path: A `.keras` file, or an unzipped one, with a ViT in it.
        dtype: Another dtype policy than the saved one; the file must then be a plain
            ViT, or a `Pipeline` around one. Its compile state is not restored.
        **kwargs: `compile`, `custom_objects`, `safe_mode`, as in Keras.

    Raises:
        WeightsError: If a weight of any ViT in the model is not the one of the file.
    """
    path = fspath(path)
    if dtype is not None:
        return _load_as(path, dtype)
    with no_init():
        try:
            model = keras.models.load_model(path, **kwargs)
        except ValueError as error:
            if "could not be loaded" not in str(error):
                raise  # no such file, an unknown class, ...
            raise WeightsError(f"{path}: {error}") from error
    unchecked = [
        layer.name
        for layer in all_layers(model)
        if isinstance(layer, ViT) and not layer._guard.verified
    ]
    if unchecked:
        raise WeightsError(f"{path}: no weights were loaded into {unchecked}")
    return model


def _load_as(path: str, dtype) -> ViT | Pipeline:
    folder = Path(path)
    weights = path
    if folder.is_dir():  # unzipped
        saved = json.loads((folder / "config.json").read_bytes())
        weights = str(folder / "model.weights.h5")
    else:
        with zipfile.ZipFile(path) as archive:
            saved = json.loads(archive.read("config.json"))
    name, config = saved.get("registered_name"), saved["config"]
    if name not in ("vit_duet>ViT", "vit_duet>Pipeline"):
        raise ValueError(
            f"{path}: dtype= needs a plain ViT, or a Pipeline around one; found "
            f"{saved.get('class_name')!r}"
        )
    with no_init():
        if name == "vit_duet>ViT":
            model = vit = ViT.from_config({**config, "dtype": dtype})
        else:
            vit = {**config["vit"], "dtype": dtype}
            model = Pipeline.from_config({**config, "vit": vit})
            vit = model.vit
        model.load_weights(weights)
    if not vit._guard.verified:
        raise WeightsError(f"{path}: no weights were loaded into {vit.name!r}")
    return model
