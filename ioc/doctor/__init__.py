"""`rayfan doctor`: what of this machine would break, or slow, the appliance of a configuration."""
