"""Verify: does the pruned network compute what the masked original computes?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError

from sentei.errors import VerificationError, check_type
from sentei.graph.capture import as_inputs, copied, map_tensors, tensors_in
from sentei.graph.trace import retrace
from sentei.surgery.mask import mask
from sentei.surgery.plan import Plan, plan_removal


@dataclass(frozen=True, kw_only=True)
class Verification:
    """How far the pruned network is from the masked original.

    Attributes:
        output_error: Largest absolute difference of outputs, divided by their largest value.
        gradient_error: The same for gradients of the inputs; 0 if no input is a float. Where the
            largest is below a thousandth of outputs over inputs, it is divided by that: a
            gradient that cancels to rounding errors tells nothing.
        tolerance: What both had to stay below.
    """

    output_error: float
    gradient_error: float
    tolerance: float


def verify(
    model: nn.Module,
    small: nn.Module,
    plan: Plan,
    inputs: Any,  # noqa: ANN401 - whatever the model takes
    *,
    tolerance: float | None = None,
) -> Verification:
    """Compare the pruned network with the masked original, in float64, outputs and gradients.

    Both run as copies in eval mode; neither is changed.

    Args:
        model: The model the plan was made for, as it was when ``apply`` ran.
        small: The pruned network, before any training.
        plan: The plan.
        inputs: Example inputs of the shapes the model was traced with.
        tolerance: Largest relative difference allowed; by default 1e-9, 1e-4 where the model
            casts to float32 in places, 1e-3 where it can only run in float32.

    Raises:
        VerificationError: They differ by more; the message says by how much.
        TypeError: ``plan`` is no plan.
    """
    check_type("plan", plan, Plan)
    arguments = as_inputs(inputs)
    graph = retrace(plan.graph, model)
    if graph is not plan.graph:
        plan = plan_removal(graph, plan.removed)
    allowed = 1e-4 if _computes_in_float32(plan) else 1e-9
    with torch.inference_mode(mode=False):
        try:
            results = _run_both(plan, (model, small), arguments, torch.float64)
        except RuntimeError as error:
            # The model makes float32 tensors itself and mixes them with its activations.
            if "dtype" not in str(error) and "scalar type" not in str(error):
                raise
            results = _run_both(plan, (model, small), arguments, torch.float32)
            allowed = 1e-3
    (expected, expected_grads), (found, found_grads) = results
    if tolerance is None:
        tolerance = allowed
    if len(expected) != len(found):
        raise VerificationError(
            f"the pruned network returns {len(found)} tensors, not {len(expected)}"
        )
    output_error = _largest(expected, found)
    least = _least_gradient(expected, arguments)
    gradient_error = _largest(expected_grads, found_grads, least=least)
    # Written so that NaN fails too.
    if not (output_error <= tolerance and gradient_error <= tolerance):
        raise VerificationError(
            f"the pruned network differs from the masked original by {output_error:.2e} (outputs) "
            f"and {gradient_error:.2e} (input gradients), relative to their largest values; "
            f"at most {tolerance:.0e} is allowed. Do not use it; please report the model"
        )
    return Verification(
        output_error=output_error, gradient_error=gradient_error, tolerance=tolerance
    )


def _computes_in_float32(plan: Plan) -> bool:
    """Return whether the recorded run casts to a fixed lower precision somewhere."""
    recording = plan.graph.recording
    if any(call.function in ("float", "half", "bfloat16") for call in recording.calls):
        return True
    return any(
        op.name == "to_copy"
        and op.args.get("dtype") in (torch.float32, torch.float16, torch.bfloat16)
        for op in recording.ops
    )


_Result = tuple[list[Tensor], list[Tensor]]


def _run_both(
    plan: Plan,
    models: tuple[nn.Module, nn.Module],
    inputs: Any,  # noqa: ANN401 - whatever the model takes
    dtype: torch.dtype,
) -> tuple[_Result, _Result]:
    dense, pruned = (copied(m).to(dtype).eval() for m in models)
    return _run(mask(plan, dense), inputs, dtype), _run(pruned, inputs, dtype)


def _run(model: nn.Module, inputs: Any, dtype: torch.dtype) -> _Result:  # noqa: ANN401
    def prepare(tensor: Tensor) -> Tensor:
        tensor = tensor.detach().clone()
        return tensor.to(dtype).requires_grad_() if tensor.is_floating_point() else tensor

    with torch.enable_grad():
        inputs = map_tensors(inputs, prepare)
        args, kwargs = ((), inputs) if isinstance(inputs, dict) else (inputs, {})
        out = list(tensors_in(model(*args, **kwargs)))
        leaves = [t for t in tensors_in(inputs) if t.requires_grad]
        total = torch.zeros((), dtype=torch.float64)
        for index, tensor in enumerate(t for t in out if t.requires_grad):
            generator = torch.Generator().manual_seed(index)
            weights = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            total = total + (tensor.double() * weights.to(tensor.device)).sum()
        grads: list[Tensor] = []
        if leaves and total.requires_grad:
            grads = _gradients(total, leaves)
    return [t.detach() for t in out], grads


def _gradients(total: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    try:
        return list(torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True))
    except CheckpointError as error:
        raise VerificationError(
            "the model computes parts of its forward again in the backward pass "
            "(torch.utils.checkpoint), which the masked original cannot follow; turn that off "
            "while it is verified (set_grad_checkpointing(False), use_checkpoint=False, ...)"
        ) from error


def _least_gradient(outputs: list[Tensor], inputs: Any) -> float:  # noqa: ANN401
    """Return the largest value of gradients below which they are not told from zero."""
    out, given = (
        max((float(t.abs().max()) for t in some if t.is_floating_point() and t.numel()), default=0)
        for some in (outputs, tensors_in(inputs))
    )
    return 1e-3 * out / (given or 1.0)


def _largest(expected: list[Tensor], found: list[Tensor], *, least: float = 1e-30) -> float:
    """Return the largest distance of all pairs; NaN if one is, which ``max`` would hide."""
    pairs = zip(expected, found, strict=True)
    return float(np.max([_distance(e, f, least) for e, f in pairs], initial=0))


def _distance(expected: Tensor, found: Tensor, least: float) -> float:
    if expected.shape != found.shape:
        raise VerificationError(
            f"an output has shape {tuple(found.shape)}, expected {tuple(expected.shape)}"
        )
    if expected.numel() == 0:
        return 0.0
    expected, found = expected.double(), found.double()
    scale = float(expected.abs().max())
    return float((expected - found).abs().max()) / max(scale, least, 1e-30)
