"""MLflow: runs, registry and the served model. The only stage that uses mlflow."""
