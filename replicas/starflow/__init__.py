"""STARFlow (Gu et al. 2025, arXiv 2506.06276): a normalizing flow over latents, its samplers and its likelihood."""
