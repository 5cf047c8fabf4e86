"""Training rows of one domain, a model for another: target rows beside the training rows, and labels predicted for them."""
