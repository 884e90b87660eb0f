"""What is told of a program's memory."""

from pathlib import Path

from llava_edge.bench import resident_memory


def test_each_step_is_told(tiny_bundle: Path) -> None:
    told = list(resident_memory.steps(tiny_bundle))
    assert [name.split(" ")[0] for name, _ in told][-3:] == [
        "idle:",
        "chat.close()",
        "model.close()",
    ]
    assert len(told) == 8
    assert all(size > 2**20 for _, size in told)
