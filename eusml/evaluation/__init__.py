"""Measures with intervals, comparison, clinical baselines, promotion rule, texts, figures; no torch, no mlflow."""
