"""Runs jobs with the torch twin. Imports no Keras."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.parity.protocol import GRADIENTS, Arrays, Job, compute
from torch_vit import ViT


class TorchTwin:
    """`torch_vit.ViT` as a runner of jobs.

    Args:
        device: `"cpu"` or `"cuda"`.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    def run(self, job: Job) -> Arrays:
        """Computes all outputs of a job."""
        dtype = getattr(torch, job.dtype)
        # Without a generator's draws, which the fill overwrites anyway.
        model = ViT(job.config, attn_impl=job.impl, device="meta", dtype=dtype)
        weights = {
            name: torch.from_numpy(values).clone().to(self.device)
            for name, values in job.weights().items()
        }
        model.load_state_dict(weights, assign=True)
        # Parameters keep `requires_grad`: torch's matmul asks for it (`should_fold`),
        # and sums in another order if it is False.
        model.eval()
        x = torch.from_numpy(job.inputs()).clone().to(self.device)
        names = [name for name in job.names if name != GRADIENTS]
        with same_kernels(self.device):
            with torch.no_grad():
                found = {
                    name: value.cpu().numpy()
                    for name, value in compute(model, x, names).items()
                }
            if GRADIENTS in job.names:
                found |= self._gradients(model, x, job)
        return found

    def _gradients(self, model: ViT, x: torch.Tensor, job: Job) -> Arrays:
        x = x.clone().requires_grad_()
        output = model(x)
        cotangent = torch.from_numpy(job.cotangent(tuple(output.shape)))
        output.backward(cotangent.to(self.device))
        named = [("input", x), *model.named_parameters()]
        return {
            f"{GRADIENTS}.{name}": leaf.grad.cpu().numpy()
            for name, leaf in named
            if leaf.grad is not None
        }


def same_kernels(device: str) -> AbstractContextManager:
    """On CUDA, one attention kernel for both twins; on the CPU there is one anyway."""
    return sdpa_kernel(SDPBackend.MATH) if device == "cuda" else nullcontext()


def settle(device: str) -> None:
    """Exact float32 and one order of summation, for a process of its own.

    Models this small only lose by sharing work among threads.
    """
    torch.set_num_threads(1)
    if device == "cuda":
        torch.use_deterministic_algorithms(True)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = False


@contextmanager
def settled(device: str) -> Iterator[None]:
    """The same for a while."""
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = (matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark)
    settle(device)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before
