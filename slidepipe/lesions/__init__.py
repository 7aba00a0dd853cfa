"""Room 4: detections read off a heatmap, what describes a slide's heatmap, and one probability per slide."""
