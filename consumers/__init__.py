"""The consumer, egress and ingress processes and the public processor API."""
