"""The loop: phases one after another, each in a fresh Trainer, and the checkpoints to go on from."""
