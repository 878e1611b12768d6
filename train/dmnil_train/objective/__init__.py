"""What training minimises: the memories and losses of DMNIL (arXiv 2502.11381)."""
