"""Kernels of our own, each a public function, a pure PyTorch reference and a Triton implementation."""
