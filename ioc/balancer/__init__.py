"""A software load balancer for EJFAT: for tests, labs and single hosts."""
