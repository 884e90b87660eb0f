"""auto-round's own names for how it packs integers: as GPTQ or as AWQ does."""

from llava_edge.core.strict import Section
from llava_edge.export.formats.awq import Awq
from llava_edge.export.formats.gptq import Gptq, group_size
from llava_edge.export.formats.quantized_layers import note_activations

_AWQ = "auto_round:auto_awq"
_STORED_LESS = {"auto_round:auto_gptq": 1, "auto_round:gptqmodel": 0, "auto_round": 0}


def read_auto_round(section: Section) -> Gptq | Awq:
    """Raises CheckpointError for packings that export does not read."""
    section.choice("data_type", ("int",), "int")
    packing = section.choice("packing_format", (*_STORED_LESS, _AWQ), "auto_round:auto_gptq")
    note_activations(section, section.integer("act_bits", 16))
    group = group_size(section, "group_size")
    if packing == _AWQ:
        return Awq(group)
    said = section.has("sym") and not section.has("extra_config")  # which layers may differ by
    return Gptq(group, _STORED_LESS[packing], section.flag("sym", True) if said else None)
