"""Training: from validated episodes to a job that runs somewhere and reports back."""
