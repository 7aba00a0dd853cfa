"""The engine house: what has to be done, where it is done, and what became of it. The only room with Dask."""
