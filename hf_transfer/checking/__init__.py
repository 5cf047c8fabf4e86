"""`hft check` and `check_training`: what goes wrong silently in a user's own model and Trainer."""
