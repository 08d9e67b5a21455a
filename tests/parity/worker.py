"""Runs jobs with the Keras twin: `python -m tests.parity.worker JOBS RESULTS DEVICE`.

One fresh process per backend does all jobs: JOBS is a JSON list, RESULTS a folder, see
`runs.Results`. Float64 jobs come last, because on torch and JAX they need
a Keras that has been told that float64 exists.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_vit
from keras_vit.init import no_init
from tests.parity import golden_cases
from tests.parity.protocol import (
    CODE_MUTANTS,
    GRADIENTS,
    Arrays,
    Job,
    compute,
    is_map,
    load_jobs,
    to_keras,
    to_torch,
)
from tests.parity.runs import Writer
from tests.parity.suite import needed
from tests.saving.worker import warnings_as_errors
from vit_config import ViTConfig
from vit_config.weights import weight_table

BACKEND = keras.backend.backend()


class KerasTwin:
    """`keras_vit.ViT` as a runner of jobs; keeps the model of the last one."""

    def __init__(self) -> None:
        self.model: Any = None
        self._made: Any = None
        self._filled: Any = None
        self._programs: dict[Any, Callable] = {}

    def adopt(self, model: keras_vit.ViT) -> None:
        """Goes on with another model."""
        self.model = model
        self._made = self._filled = None
        self._programs = {}

    def run(self, job: Job) -> Arrays:
        """Computes all outputs of a job."""
        with mutated(job) as config:
            self._prepare(job, config)
            names = tuple(name for name in job.names if name != GRADIENTS)
            x = np.moveaxis(job.inputs(), 1, -1)
            found = self.outputs(x, names, job.compiled)
            if GRADIENTS in job.names:
                found |= self._gradients(x, job)
        return found

    def outputs(self, x: np.ndarray, names: tuple[str, ...], compiled: bool) -> Arrays:
        """Outputs of the present model, in torch layout."""
        tensor = keras.ops.convert_to_tensor(x)
        model = self.model
        if compiled:
            program = self._programs.get(names)
            if program is None:
                program = one_program(model, names)
                self._programs[names] = program
            values = program(tensor)
        else:
            with no_gradient():
                values = compute(model, tensor, names)
        arrays = {name: as_array(value) for name, value in values.items()}
        return {
            name: np.moveaxis(array, -1, 1) if is_map(name) else array
            for name, array in arrays.items()
        }

    def _prepare(self, job: Job, config: ViTConfig) -> None:
        made = (config, job.dtype, job.mutant in CODE_MUTANTS and job.mutant)
        if made != self._made:
            self.adopt(new_model(config, job.dtype))
            self._made = made
        faint = job.kind == "low_variance"
        filled = (job.fill, faint, job.mutant)
        if filled != self._filled:
            set_weights(self.model, job.weights())
            self._filled = filled
        if self.model.blocks[0].attn.attn_impl != job.impl:
            self._programs = {}
            self.model.set_attn_impl(job.impl)

    def _gradients(self, x: np.ndarray, job: Job) -> Arrays:
        model = self.model
        wanted = [w for w in weight_table(model.config) if w.trainable]
        by_path = {model.relative_path(v): v for v in model.trainable_variables}
        if sorted(by_path) != sorted(weight.path for weight in wanted):
            raise ValueError(f"trainable: {sorted(by_path)}")
        variables = [by_path[weight.path] for weight in wanted]
        programs = self._programs
        x_gradient, gradients = GRADIENT[BACKEND](model, variables, x, job, programs)
        found = {f"{GRADIENTS}.input": np.moveaxis(x_gradient, -1, 1)}
        for weight, gradient in zip(wanted, gradients, strict=True):
            if gradient is not None:
                values = to_torch(model.config, weight, gradient)
                found[f"{GRADIENTS}.{weight.name}"] = values
        return found


def new_model(config: ViTConfig, dtype: str) -> keras_vit.ViT:
    """A model whose weights are about to be set."""
    with no_init():
        return keras_vit.ViT(config, dtype=dtype)


def set_weights(model: keras_vit.ViT, weights: Arrays) -> None:
    """Sets every weight from the canonical ones."""
    variables = {model.relative_path(v): v for v in model.weights}
    for weight in weight_table(model.config):
        values = to_keras(model.config, weight, weights[weight.name])
        variables.pop(weight.path).assign(values)
    if variables:
        raise ValueError(f"weights that the table does not have: {sorted(variables)}")


def as_array(tensor: Any) -> np.ndarray:
    """The tensor as it is: bfloat16 or float64 would be seen."""
    if BACKEND == "torch":
        return tensor.detach().cpu().numpy()
    return np.asarray(tensor)


@contextmanager
def no_gradient() -> Iterator[None]:
    """Under torch, no graph is kept for what is only looked at."""
    if BACKEND != "torch":
        yield
        return
    import torch

    with torch.no_grad():
        yield


# ---- compiled -------------------------------------------------------------------


def one_program(model: keras_vit.ViT, names: tuple[str, ...]) -> Callable:
    """The call as one program of the backend's compiler."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(lambda x: compute(model, x, names))
    if BACKEND == "jax":
        import jax

        program = jax.jit(lambda values, x: stateless(model, values, x, names))
        return lambda x: program([v.value for v in model.variables], x)
    raise ValueError(f"no compiled jobs on {BACKEND}")


def stateless(model: keras_vit.ViT, values: Any, x: Any, names: Any) -> dict[str, Any]:
    """The call as a function of the weights' values."""
    mapping = list(zip(model.variables, values, strict=True))
    with keras.StatelessScope(state_mapping=mapping):
        return compute(model, x, names)


# ---- gradients ------------------------------------------------------------------


def torch_gradients(model, variables, x, job, programs):
    import torch

    leaf = keras.ops.convert_to_tensor(x).clone().requires_grad_()
    parameters = [variable.value for variable in variables]
    for parameter in parameters:
        parameter.grad = None
    y = model(leaf)
    y.backward(keras.ops.convert_to_tensor(job.cotangent(tuple(y.shape))))
    gradients = [p.grad if p.grad is None else as_array(p.grad) for p in parameters]
    if not isinstance(leaf, torch.Tensor) or leaf.grad is None:
        raise ValueError("the input got no gradient")
    return as_array(leaf.grad), gradients


def tensorflow_gradients(model, variables, x, job, programs):
    import tensorflow as tf

    leaf = tf.convert_to_tensor(x)
    values = [variable.value for variable in variables]
    with tf.GradientTape() as tape:
        tape.watch(leaf)
        y = model(leaf)
    cotangent = tf.convert_to_tensor(job.cotangent(tuple(y.shape)))
    x_gradient, *gradients = tape.gradient(y, [leaf, *values], cotangent)
    return as_array(x_gradient), [g if g is None else as_array(g) for g in gradients]


def jax_gradients(model, variables, x, job, programs):
    import jax

    def output(values, leaf):
        mapping = list(zip(variables, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return model(leaf)

    def both(values, leaf, cotangent):
        return jax.vjp(output, values, leaf)[1](cotangent)

    values = [variable.value for variable in variables]
    leaf = jax.numpy.asarray(x)
    shape = jax.eval_shape(output, values, leaf).shape
    cotangent = jax.numpy.asarray(job.cotangent(shape))
    program = both
    if job.compiled:
        program = programs.setdefault(GRADIENTS, jax.jit(both))
    gradients, x_gradient = program(values, leaf, cotangent)
    return as_array(x_gradient), [as_array(gradient) for gradient in gradients]


GRADIENT = {
    "torch": torch_gradients,
    "tensorflow": tensorflow_gradients,
    "jax": jax_gradients,
}


# ---- mistakes -------------------------------------------------------------------


@contextmanager
def mutated(job: Job) -> Iterator[ViTConfig]:
    """Makes a mistake in the twin's code; yields the config to build."""
    from keras_vit import activations

    config = job.config
    match job.mutant:
        case "eps_1e-5":
            yield config.replace(norm_eps=1e-5)
        case "eps_1e-12":
            yield config.replace(norm_eps=1e-12)
        case "keras_default_eps":
            default = keras.layers.LayerNormalization().epsilon
            yield config.replace(norm_eps=default)
        case "tanh_gelu":
            exact = activations.ACTIVATIONS["gelu"]
            activations.ACTIVATIONS["gelu"] = activations.ACTIVATIONS["gelu_tanh"]
            try:
                yield config
            finally:
                activations.ACTIVATIONS["gelu"] = exact
        case _:
            yield config


# ---- settings -------------------------------------------------------------------


def settle(device: str) -> str | None:
    """Exact float32 and one order of summation.

    Returns:
        Why there is nothing to run on, or None.
    """
    if BACKEND == "torch":
        from tests.parity import reference

        reference.settle(device)
        import torch

        if device == "cuda" and not torch.cuda.is_available():
            return "torch sees no CUDA device"
    elif BACKEND == "tensorflow":
        import tensorflow as tf

        if device == "cpu":
            tf.config.threading.set_intra_op_parallelism_threads(1)
            tf.config.threading.set_inter_op_parallelism_threads(1)
            return None
        if not tf.config.list_physical_devices("GPU"):
            return "tensorflow sees no CUDA device"
        tf.config.experimental.enable_tensor_float_32_execution(False)
        tf.config.experimental.enable_op_determinism()
        keras.utils.set_random_seed(0)  # demanded by the line before
    else:
        import jax

        if device == "cuda":
            if jax.default_backend() != "gpu":
                return "jax sees no CUDA device"
            jax.config.update("jax_default_matmul_precision", "highest")
    return None


def allow_float64() -> None:
    """Makes float64 real on torch and JAX; for tests only.

    Keras' type promotion turns float64 into float32 there, so that half of the
    operations would run in float32 whatever the dtype policy says.
    """
    from keras.src.backend.common import dtypes

    dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
    if BACKEND == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)


@contextmanager
def same_kernels(device: str) -> Iterator[None]:
    """On CUDA, the attention kernel that the reference uses."""
    if BACKEND != "torch":
        yield
        return
    from tests.parity import reference

    with reference.same_kernels(device):
        yield


def fresh_weights(config: ViTConfig) -> Arrays:
    """What a new model draws, in canonical layout."""
    keras.utils.set_random_seed(0)
    model = keras_vit.ViT(config)
    variables = {model.relative_path(v): v for v in model.weights}
    return {
        weight.name: to_torch(config, weight, as_array(variables[weight.path].value))
        for weight in weight_table(config)
    }


# ---- goldens --------------------------------------------------------------------


def run_golden(twin: KerasTwin, case: str) -> Arrays:
    """All outputs of one golden case, as `kind/name`.

    All kinds of input go through the same call with as many rows and outputs, so that a
    compiler has to be asked once; what the golden does not have is cut off.
    """
    found = {}
    goldens = list(golden_cases.goldens(case))
    names = tuple(sorted({name for golden in goldens for name in golden.oracle}))
    rows = max(len(golden.x) for golden in goldens)
    twin.adopt(new_model(goldens[0].config, "float32"))
    for golden in goldens:
        set_weights(twin.model, golden.weights)
        x = np.concatenate([golden.x] * (rows // len(golden.x)))
        given = twin.outputs(np.moveaxis(x, 1, -1), names, BACKEND == "jax")
        for name, oracle in golden.oracle.items():
            found[f"{golden.kind}/{name}"] = given[name][: len(oracle)]
    return found


def main() -> None:
    """Runs everything and writes the results."""
    jobs_path, results_path, device = sys.argv[1:]
    spec = json.loads(Path(jobs_path).read_text("utf-8"))
    jobs = load_jobs(spec["jobs"])
    results = Writer(Path(results_path))
    note = settle(device)
    seconds: dict[str, float] = {}
    if note is None:
        twin = KerasTwin()
        with warnings.catch_warnings(), same_kernels(device):
            warnings_as_errors()
            for case in spec["goldens"]:
                start = time.process_time()
                results.add(f"golden/{case}", run_golden(twin, case))
                seconds[f"golden/{case}"] = time.process_time() - start
            for name, fields in spec["fresh"].items():
                start = time.process_time()
                weights = fresh_weights(ViTConfig.from_dict(fields))
                results.add(f"fresh/{name}", weights)
                seconds[f"fresh/{name}"] = time.process_time() - start
            doubled = False
            for job in sorted(jobs, key=lambda job: job.dtype == "float64"):
                if job.dtype == "float64" and not doubled:
                    allow_float64()
                    doubled = True
                start = time.process_time()
                found = twin.run(job)
                if BACKEND != "torch":
                    found = needed(job, found)
                results.add(job.key, found)
                seconds[job.key] = time.process_time() - start
    results.finish(note or "", seconds)


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parents[2])
    main()
