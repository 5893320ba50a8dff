"""The report: what the store holds of a study, as a page that a researcher reads and a reviewer checks."""
