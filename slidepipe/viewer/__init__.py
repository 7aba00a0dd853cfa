"""The viewer: a run's slides in a browser, in deep zoom, with heatmap and lesions over them."""
