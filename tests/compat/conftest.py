"""The older stacks that checkpoints come from or go to."""

import pytest
from overlay import Overlay


@pytest.fixture(scope="session")
def transformers_4() -> Overlay:
    """The last releases of transformers 4."""
    return Overlay("transformers==4.57.6", "tokenizers==0.22.1", "huggingface-hub==0.36.0")


@pytest.fixture(scope="session")
def original_llava() -> Overlay:
    """The original LLaVA's own package, and what it was written for."""
    return Overlay(
        "llava-torch==1.2.2.post1",
        "transformers==4.37.2",
        "tokenizers==0.15.2",
        "huggingface-hub==0.36.0",
        "peft==0.10.0",
        "datasets==3.6.0",
    )


@pytest.fixture(scope="session")
def gptqmodel() -> Overlay:
    """What reads GPTQ and AWQ checkpoints for transformers 5, and what it needs itself."""
    return Overlay(
        "gptqmodel==7.7.0",
        "optimum==2.3.0",
        "datasets==5.1.0",
        "defuser==0.0.28",
        "device-smi==0.5.7",
        "dill==0.4.1",
        "logbar==0.4.15",
        "pypcre==0.6.4",
        "threadpoolctl==3.7.0",
        "tokenicer==0.0.14",
        "torchao==0.18.0",
    )


@pytest.fixture(scope="session")
def packers() -> Overlay:
    """The packages whose formats GPTQ and AWQ checkpoints have; both are no longer developed."""
    return Overlay(
        "auto-gptq==0.7.1",
        "autoawq==0.2.9",
        "transformers==4.57.6",
        "tokenizers==0.22.1",
        "huggingface-hub==0.36.0",
    )
