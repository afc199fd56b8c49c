"""Episodes: the right to upload one, its validation and promotion, and its owner's view of it."""
