"""`rayfan bench`: rates and costs, measured beside a peer and beside the machine's own limits in the same run."""
