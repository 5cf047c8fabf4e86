"""How flags are named, read, checked and shown. Nothing heavy is imported here: `--help` must be quick."""
