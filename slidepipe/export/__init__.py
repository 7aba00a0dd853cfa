"""Room 5b: results in the formats that other programs read, and the report."""
