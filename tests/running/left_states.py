"""Code that leaves a state of torch or of the process changed, and what the failure says of it."""

from __future__ import annotations

STATES = {  # what a hook leaves on: a part of the message
    "torch.set_grad_enabled(False)": "grad mode is False, and was True",
    "torch.set_default_device('meta')": "default device is meta",
    "torch.set_default_dtype(torch.float64)": "default dtype is torch.float64, and was torch.float32",
    "torch.use_deterministic_algorithms(True)": "deterministic algorithms is True",
    "torch.set_num_threads(2)": "number of threads is 2, and was 1",
    "torch.set_float32_matmul_precision('medium')": "float32 matmul precision is medium",
    "torch.backends.cudnn.deterministic = True": "backends.cudnn.deterministic is True",
    "torch.backends.cuda.enable_flash_sdp(False)": "flash attention is False",
    "os.chdir('/')": "the current folder is /",
    "__import__('numpy').seterr(all='raise')": "numpy's treatment of errors is",
    "__import__('sys').setrecursionlimit(500)": "the recursion limit is 500",
    "__import__('warnings').simplefilter('error', ImportWarning)": "warnings that are errors",
}
LEFT_ON = "leaves a state changed after"
