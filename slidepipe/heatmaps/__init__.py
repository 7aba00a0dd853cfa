"""Room 3b: the tumour probability image of a slide, planned, stored and read back. Knows nothing of any model."""
