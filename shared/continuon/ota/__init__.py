"""Over the air: bundles, their manifest, version rules, and the trust that signs them."""
