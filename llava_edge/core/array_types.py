"""The types of arrays that many modules hand about."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
