"""The way to the Hub: asked before training, pushed in one commit at the end."""
