"""What was measured, to be measured again; results and commands stand in README.md."""
