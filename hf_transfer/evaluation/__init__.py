"""Honest evaluation: metrics, intervals, baselines, thresholds, tables; numpy in, numbers out, no torch."""
