"""What the benchmarks measure where nothing else is said."""

PROMPT = "Describe the picture in detail."
CONTEXTS = (128, 600, 2048)  # tokens; those that fit
TOKENS = 32  # decoded at each context, in a run
RUNS = 5  # of a bundle, alone or beside its peers, after one that warms up
PEERS = ("llama.cpp", "transformers", "onnxruntime-genai")
RECORDS, ROUNDS, STEPS = 320, 5, 2  # of training; rounds after one that warms up
