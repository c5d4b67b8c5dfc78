"""Elementwise operators that torch does not tag as such."""

from sentei.graph.analysis import pointwise, rule

rule("hardswish", "hardsigmoid", "hardtanh", "elu", "leaky_relu", "silu", "gelu", "mish",
     "softplus", "celu", "selu", "log_sigmoid_forward", "threshold", "rrelu_with_noise",
     "softshrink", "hardshrink", "where", "lerp", "addcmul", "addcdiv", "clamp",
     "clamp_min", "clamp_max", "nan_to_num", "isnan", "isinf", "isfinite",
     "view_as_real")(pointwise)  # fmt: skip
