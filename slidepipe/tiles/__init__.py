"""Where a slide has tissue, which tiles are cut, and the store that holds them."""
