"""areaDetector's plug-ins: frames go from port to port in one process, each plug-in with NDPluginBase's records."""
