"""The web page of an appliance: what it looks like now, for browsers; nothing here touches the data path."""
