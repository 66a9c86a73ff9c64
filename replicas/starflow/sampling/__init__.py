"""From noise to latents: every way to invert the flow's blocks, and the settings that choose among them."""
