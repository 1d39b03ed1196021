"""The consumer, collector, egress and ingress processes and the public processor API."""
