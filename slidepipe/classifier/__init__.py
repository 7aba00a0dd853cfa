"""Room 3a: the patch classifier, from patches in tile stores to probabilities. The only room with Torch."""
