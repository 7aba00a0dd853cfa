"""Lets ``python -m slidepipe`` do what ``slidepipe`` does."""

from slidepipe.cli import main

main()
