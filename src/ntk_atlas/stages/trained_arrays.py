"""What is kept of a trained unit; apart from the training, so that reading it does not import Lightning."""

MEMBER_ARRAYS = (
    "train_mse", "validation_mse", "test_mse", "train_error", "test_error",
    "probe_kernels", "probe_predictions", "status", "stop_epoch", "selected_epoch", "learning_rate", "lambda_max",
    "n_rates_diverged", "selected_test_mse", "selected_test_mse_folds", "selected_test_error", "test_predictions",
)  # fmt: skip
"""Arrays of a finished unit with the members on their first axis, weights apart."""
