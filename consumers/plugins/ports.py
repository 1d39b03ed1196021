"""The names of ports: whose frames a plug-in, or a file writer, takes. As in areaDetector's commonPlugins.cmd."""


def port_of(name: str) -> str:
    """Return the port of a plug-in or writer: `STATS1` of `Stats1`, `Image1` of `image1`, `FileHDF1` of `HDF1`."""
    if name.startswith("image"):
        return name.replace("image", "Image")
    return f"File{name}" if name.startswith("HDF") else name.upper()
