"""The detector process: sources, acquisition, areaDetector records and the distributor."""
