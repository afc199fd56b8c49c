"""The hub: what runs, what it cost, what was delivered; the clock and the faults."""
