"""Benchmarks of speed and accuracy. Each runs as `python -m benchmarks...`."""

import os
import sys

# Variables that may select slower kernels for BLAS, numpy's loops, numba and PyTorch. They are
# removed before numpy loads its BLAS; child processes do not inherit them either.
CHOICES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "NPY_DISABLE_CPU_FEATURES",
           "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_ENABLE_AVX",
           "ATEN_CPU_CAPABILITY")  # fmt: skip
if "numpy" not in sys.modules:  # tests import parts of this package after numpy
    for _choice in CHOICES:
        os.environ.pop(_choice, None)
