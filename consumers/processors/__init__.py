"""Processors that come with Rayfan, one small file each."""
