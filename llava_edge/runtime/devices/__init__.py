"""Where a bundle is computed: processors, GPUs and their memory."""
