"""A training on several processes: who starts them, who writes, and how a share of a batch acts as the whole."""
