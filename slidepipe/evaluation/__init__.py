"""Room 5a: how good the predictions are. Lesion FROC by the organisers' rules, slide-level AUC, and their intervals."""
