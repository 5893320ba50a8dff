"""Search for settings: an Optuna study over inner folds of the training partition. The only user of Optuna."""
