"""How knowledge is transferred: what learns, at which rate, in which order."""
