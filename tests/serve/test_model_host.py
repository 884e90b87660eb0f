"""The model of each key."""

from llava_edge import Llava
from llava_edge.serve.model_host import ModelHost
from llava_edge.serve.served_model import ServedModel


def test_the_key_not_used_for_longest_is_forgotten(roomy_model: Llava) -> None:
    host = ModelHost(roomy_model.path)
    host.loaded = ServedModel.of(host.id, roomy_model)
    assert host.model().model is roomy_model
    first = {key: host.model(key).model for key in "abcd"}
    assert len({id(model.bundle.prefix_caches) for model in first.values()}) == 4
    assert all(model.decoder is roomy_model.decoder for model in first.values())
    assert host.model("a").model is first["a"]
    host.model("e")  # a fifth: b is the one that goes
    assert [host.model(key).model is first[key] for key in "acd"] == [True, True, True]
    assert host.model("b").model is not first["b"]
