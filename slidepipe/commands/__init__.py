"""The commands: each parses, calls one function and prints. Rooms are imported inside them, as PyTorch takes long."""
