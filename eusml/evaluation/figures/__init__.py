"""Every figure, in one style, for single runs and for the report alike; each chart comes with the numbers it shows."""
