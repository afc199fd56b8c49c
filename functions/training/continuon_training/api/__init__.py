"""The HTTP surface of training: jobs, leases, trainers, budgets and slow loops."""
