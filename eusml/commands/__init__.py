"""Entry points: one file each, wiring stages together and nothing else."""
