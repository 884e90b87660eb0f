"""`llava-edge bench peers`: a bundle is opened and compared with the peers that are there."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from llava_edge.bench.call_runtime import open_bundle
from llava_edge.bench.defaults import PEERS, PROMPT, RUNS
from llava_edge.bench.peers.choose_peers import Weights, choose_peers
from llava_edge.bench.peers.compare_peers import PeerComparison, compare_peers, our_settings
from llava_edge.bench.peers.peer_results import PeerResults, Sizes
from llava_edge.errors import UsageError


def ask_peers(
    bundle: Path | str | None,
    images: Sequence[Path],
    prompt: str = PROMPT,
    *,
    wanted: Sequence[str] = PEERS,
    weights: Weights | None = None,
    runs: int = RUNS,
    device: str = "auto",
) -> PeerResults:
    """Ask a bundle on `device` and the peers that are wanted, on the CPU, in turns.

    `weights` are the bundle's as the peers read them; a peer that cannot be asked is left out, with
    a reason. Raises UsageError where no picture or an unknown peer is given, and what loading does.
    """
    if not images:
        raise UsageError("No picture is given to ask about; name one with --image.")
    plan = PeerComparison(images, prompt, runs, Sizes())
    model = open_bundle(bundle, device)
    with TemporaryDirectory() as folder:
        ours = our_settings(model, plan.sizes)
        chosen, left_out = choose_peers(wanted, weights or Weights(), ours, Path(folder))
        return compare_peers(model, chosen, plan, left_out)
