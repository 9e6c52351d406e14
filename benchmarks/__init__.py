"""Measures of speed and of what is learned; every one runs by `python -m benchmarks...`."""

import os
import sys

# What may choose slower kernels than this processor's, for BLAS, numpy's loops, numba and PyTorch.
# They must go before numpy loads its BLAS, and processes started from here inherit that.
CHOICES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "NPY_DISABLE_CPU_FEATURES",
           "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_ENABLE_AVX",
           "ATEN_CPU_CAPABILITY")  # fmt: skip
if "numpy" not in sys.modules:  # loaded where tests import parts of this
    for _choice in CHOICES:
        os.environ.pop(_choice, None)
