"""From a checkpoint to a bundle, without torch."""

from llava_edge.export.bundle_check import Check as Check
from llava_edge.export.export import export as export
from llava_edge.export.quantization.precision import Precision as Precision
