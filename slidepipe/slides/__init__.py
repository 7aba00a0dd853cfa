"""Room 1: slides, the outlines drawn on them, and the cohort they make; the only room that opens slide files."""
