"""Which tier draws this prompt, and was it right? No torch, no Ray."""
