"""A campaign of one part, which hangs: `python hanging_campaign.py FOLDER`."""

import sys
from pathlib import Path

from llava_edge.bench.gpu.campaign import Campaign
from llava_edge.bench.gpu.parts import CampaignPart
from llava_edge.bench.gpu.run_parts import run_parts

PART = CampaignPart("hang", "whether it ends", "gpu_parts:hang", seconds=1)

if __name__ == "__main__":
    run_parts(Campaign(Path(sys.argv[1]), "tiny", "cpu"), [PART], 3600, again=False, tell=print)
