"""Does what a case asks for with one runner; knows no framework.

A case is a dict of JSON, its files lie beside it. What it may ask for:

- `inputs`: outputs for one file of inputs; `tokens` and `layers`: how many of them to
  give the tokens and all taps of; `head`: a file of tokens for the head alone;
- `sets`: `{kind: file}`, inputs (B, C, *spatial): `set:KIND:outputs`, `set:KIND:tokens`
  unless nothing pools them, `set:KIND:pooled`, the head's input, where there is a head;
- `tokens_of`: of which kinds more than the outputs is wanted, by default of all;
- `taps`: `{kind: n}`, every tap for the first n inputs of that set: `taps:KIND:TAP`;
- `attention`: `{kind: n}`, what the last block attends to in the first n inputs of
  that set: `attention:KIND`, (n, *grid), see `converters.parity.attention`;
- `forced`: `{kind: file}`, inputs and taps of the reference, in float32: each step
  alone, fed with these: `forced:KIND:TAP`. The reference's own process writes the file.
  `forced:faint:TAP`: every norm, fed with 2**-10 times what the first kind gives it;
- `gradients`: `{"inputs": file, "cotangent": file}`: `grad:input` and `grad:NAME` of
  the sum of outputs times cotangent, by canonical name and in that layout, of every
  weight that is trained;
- `training`: `{"inputs": file (S, B, C, *spatial), "targets": file (S, B, ...),
  "optimizers": {"sgd": {"lr", "momentum"}, "adamw": {"lr", "weight_decay", "betas",
  "eps"}}}`: S steps on 0.5 mean((y - t)^2), each from the file's weights:
  `train:OPTIMIZER:loss`, before every step and after the last one, on its batch, and
  `train:OPTIMIZER:NAME`, the weights after all steps;
- `raw`: `{"sets": {name: file}, "config": ...}`, inputs (B, C, *spatial) as they are:
  `raw:NAME:prepared`, and of a model with preprocessing inside `raw:NAME:outputs` and
  `raw:NAME:apart`, see `converters.workers.raw`; with `"served"` the reference also
  gives `bytes:NAME:outputs` and so on for what it prepared;
- `weights`: digests of the weights in memory, right after loading;
- `resave`: a name: the loaded model is saved there.

Dropout is off in all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from converters.mapping.pipe import Digests
from converters.parity.attention import KEY, over_patches
from converters.workers.archive import Archive, as_laid, await_file
from converters.workers.parts import INPUT, Part, norms, parts
from vit_config import ViTConfig

Array = NDArray[Any]
Named = Iterable[tuple[str, Array]]

BATCH = 64
LIMIT_S = 3600

FAINT = 2.0**-10
FAINT_KIND = "faint"
"""The kind of input of norms that were fed with `FAINT` times their input."""


class Runner(Protocol):
    """A twin that answers; arrays in torch layout on both sides."""

    @property
    def config(self) -> ViTConfig:
        """The model's."""

    def outputs(self, x: Array) -> Array:
        """What the model gives for inputs (B, C, *spatial)."""

    def tokens(self, x: Array) -> Array:
        """All tokens after the last norm (B, N, D)."""

    def head(self, tokens: Array, pre_logits: bool = False) -> Array:
        """The head on tokens, or what comes before its last layer."""

    def taps(self, x: Array) -> Named:
        """Every tap."""

    def attention(self, x: Array) -> Array:
        """Attention of the last block (B, H, N, N)."""

    def step(self, part: Part, values: Sequence[Array]) -> Array:
        """One step alone."""

    def raw(self, x: Array, config: ViTConfig) -> Named:
        """What becomes of raw inputs, if the model prepares them."""

    def gradients(self, x: Array, cotangent: Array) -> Named:
        """Of the input and of every weight that is trained."""

    def train(
        self, x: Array, targets: Array, optimizer: str, settings: dict[str, Any]
    ) -> Named:
        """`loss`, then every weight that was trained."""

    def digests(self, dtype: str | None = None) -> Digests:
        """Type, shape and SHA-256 of every weight in memory."""

    def save(self, path: Path) -> None:
        """Saves the model in its framework's own format."""


class Case:
    """One case, asked of one runner after the other.

    Args:
        fields: What is asked for.
        folder: Where its files are.
        archive: Where the answers go.
        fresh: Makes a runner with the file's weights: training changes them.
    """

    def __init__(
        self,
        fields: dict[str, Any],
        folder: Path,
        archive: Archive,
        fresh: Callable[[], Runner],
    ) -> None:
        self._fields = fields
        self._folder = folder
        self._archive = archive
        self._fresh = fresh

    def look(self, runner: Runner) -> dict[str, Any]:
        """What is seen of the model at rest."""
        said: dict[str, Any] = {}
        if self._fields.get("weights"):
            digests = runner.digests(self._fields.get("stored"))
            said["digests"] = {name: sha for name, (_, _, sha) in digests.items()}
        if self._fields.get("resave"):
            runner.save(self._folder / self._fields["resave"])
        return said

    def layers(self, runner: Runner, prefix: str = "", write: bool = False) -> None:
        """Taps, from the input on; with `write` also as input of the forced steps."""
        if self._fields.get("layers"):
            x = self._load(self._fields["inputs"])[: self._fields["layers"]]
            self._add(f"{prefix}layer:", runner.taps(x))
        forced = self._fields.get("forced", {}) if write else {}
        for kind, count in self._fields.get("taps", {}).items():
            x = self._load(self._fields["sets"][kind])[:count]
            taps = runner.taps(x)
            if kind in forced:
                taps = _kept(taps, x, self._folder / forced[kind])
            self._add(f"{prefix}taps:{kind}:", taps)

    def forced(self, runner: Runner, prefix: str = "") -> None:
        """Each step alone, fed with what the reference fed it."""
        for kind, file in self._fields.get("forced", {}).items():
            with np.load(await_file(self._folder / file, LIMIT_S)) as given:
                for part in parts(runner.config):
                    if not all(source in given for source in part.sources):
                        continue  # a step that the reference has not
                    values = [as_laid(given, source) for source in part.sources]
                    name = f"{prefix}forced:{kind}:{part.name}"
                    self._archive.add(name, runner.step(part, values))
        self.faint(runner, prefix)

    def faint(self, runner: Runner, prefix: str = "") -> None:
        """Every norm once more, on inputs so small that its epsilon shows.

        Of one LayerNorm of width 768, epsilon 1e-12 in place of 1e-6 changes the output
        by 4 times the noise of float32, on inputs times 2**-10 by 3.6e6 times.
        """
        for file in list(self._fields.get("forced", {}).values())[:1]:
            with np.load(await_file(self._folder / file, LIMIT_S)) as given:
                for part in norms(runner.config):
                    if part.sources[0] not in given:
                        continue
                    x = as_laid(given, part.sources[0]) * np.float32(FAINT)
                    name = f"{prefix}forced:{FAINT_KIND}:{part.name}"
                    self._archive.add(name, runner.step(part, [x]))

    def outputs(self, runner: Runner, prefix: str = "", once: bool = False) -> None:
        """What the model gives, and its tokens; with `once` in one pass."""
        fields = self._fields
        if fields.get("inputs"):
            x = self._load(fields["inputs"])
            self._archive.add(f"{prefix}outputs", self._batched(runner.outputs, x))
            if fields.get("tokens"):
                found = self._batched(runner.tokens, x[: fields["tokens"]])
                self._archive.add(f"{prefix}tokens", found)
        if fields.get("head"):
            found = self._batched(runner.head, self._load(fields["head"]))
            self._archive.add(f"{prefix}head", found)
        sets = fields.get("sets", {})
        more = set(fields.get("tokens_of", sets))
        for kind, file in sets.items():
            name, x = f"{prefix}set:{kind}:", self._load(file)
            if once or kind in more:
                self._set(runner, name, x, once)
            else:
                found = self._batched(runner.outputs, x)
                self._archive.add(f"{name}outputs", found)
        for kind, count in fields.get("attention", {}).items() if not prefix else ():
            x = self._load(fields["sets"][kind])[:count]
            # One by one: of a volume's tokens, all pairs are many.
            maps = (runner.attention(x[i : i + 1]) for i in range(len(x)))
            seen = [over_patches(one, runner.config) for one in maps]
            self._archive.add(f"{KEY}{kind}", np.concatenate(seen))

    def _set(self, runner: Runner, prefix: str, x: Array, once: bool) -> None:
        tokens = self._batched(runner.tokens, x)
        if runner.config.global_pool == "none":
            outputs = tokens if once else self._batched(runner.outputs, x)
        else:
            self._archive.add(f"{prefix}tokens", tokens)
            outputs = (
                self._batched(runner.head, tokens)
                if once
                else self._batched(runner.outputs, x)
            )
        self._archive.add(f"{prefix}outputs", outputs)
        if runner.config.num_classes:
            pooled = self._batched(lambda x: runner.head(x, pre_logits=True), tokens)
            self._archive.add(f"{prefix}pooled", pooled)

    def raw(self, runner: Runner) -> None:
        """Raw inputs, where the model prepares them itself."""
        asked = self._fields.get("raw")
        if not asked:
            return
        config = ViTConfig.from_dict(asked["config"])
        for name, file in asked["sets"].items():
            self._add(f"raw:{name}:", runner.raw(self._load(file), config))

    def served(self, runner: Runner, prefix: str = "") -> None:
        """What the torch twin gives for raw inputs that its preprocessing prepared."""
        asked = self._fields.get("raw", {})
        for name, file in asked["sets"].items() if asked.get("served") else ():
            config = ViTConfig.from_dict(asked["config"])
            prepared = dict(runner.raw(self._load(file), config))["prepared"]
            self._set(runner, f"{prefix}bytes:{name}:", prepared, once=True)

    def gradients(self, runner: Runner, prefix: str = "") -> None:
        """Of the input and the weights."""
        if asked := self._fields.get("gradients"):
            x, cotangent = (self._load(asked[name]) for name in ("inputs", "cotangent"))
            self._add(f"{prefix}grad:", runner.gradients(x, cotangent))

    def training(self, prefix: str = "") -> None:
        """From the weights of the file, by each optimizer."""
        asked = self._fields.get("training")
        if not asked:
            return
        x, targets = (self._load(asked[name]) for name in ("inputs", "targets"))
        for name, settings in asked["optimizers"].items():
            found = self._fresh().train(x, targets, name, settings)
            self._add(f"{prefix}train:{name}:", found)

    def _add(self, prefix: str, arrays: Named) -> None:
        for name, array in arrays:
            self._archive.add(f"{prefix}{name}", array)

    def _load(self, file: str) -> Array:
        found: Array = np.load(self._folder / file, allow_pickle=False)
        return found

    def _batched(self, function: Callable[[Array], Array], x: Array) -> Array:
        size = self._fields.get("batch", BATCH)
        return np.concatenate(
            [function(x[i : i + size]) for i in range(0, len(x), size)]
        )


def _kept(taps: Named, x: Array, path: Path) -> Iterator[tuple[str, Array]]:
    """Passes taps on; they and the input are in the file when the last one is."""
    with Archive(path) as archive:
        archive.add(INPUT, x)
        for name, array in taps:
            archive.add_as_laid(name, array)
            yield name, array
