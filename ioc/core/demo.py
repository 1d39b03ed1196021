"""The configuration of the demonstration, which `rayfan up` runs when it is given no file."""

DEMO = """\
# What `rayfan up` runs when it is given no file.
prefix = "RF:"

[detector]
frame_rate = 1000.0       # Hz
size = [512, 512]         # x, y
data_type = "UInt8"
acquire_at_start = true

[detector.source]
kind = "generated"
pattern = "peaks"

[groups.stats]            # two consumers that take turns
count = 2
policy = "lossless"
processor = "statistics"

[egress.demo]             # every frame over UDP ...
ingress = "demo"
rate = 8.0                # Gbit/s
policy = "lossless"

[ingress.demo]            # ... to a receiver on this host that checks each one
"""
