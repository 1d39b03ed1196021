"""Policies of the Archiver Appliance for Rayfan's PVs; Jython 2.7, which is why it looks as it does.

Set ARCHAPPL_POLICIES to this file, or take the two branches over into the policies of the site. The names of the
policies are those of the lists that `rayfan pvlist --format archiver` prints.
"""

SETTLED_TYPES = ("bi", "bo", "mbbi", "mbbo")


def getPolicyList():
    return {
        "rayfan_changes": "Each change: states and settings",
        "rayfan_figures": "Every 5 s: counters, rates, times",
        "Default": "Each change, once a second at most",
    }


def getFieldsArchivedAsPartOfStream():
    return ["HIHI", "HIGH", "LOW", "LOLO", "LOPR", "HOPR"]


def stores():
    return [
        "pb://localhost?name=STS&rootFolder=${ARCHAPPL_SHORT_TERM_FOLDER}&partitionGranularity=PARTITION_HOUR"
        "&consolidateOnShutdown=true",
        "pb://localhost?name=MTS&rootFolder=${ARCHAPPL_MEDIUM_TERM_FOLDER}&partitionGranularity=PARTITION_DAY"
        "&hold=2&gather=1",
        "pb://localhost?name=LTS&rootFolder=${ARCHAPPL_LONG_TERM_FOLDER}&partitionGranularity=PARTITION_YEAR",
    ]


def chosenPolicy(pvInfo):
    """Return what was asked for, else what fits the type of the record."""
    asked = pvInfo.get("policyName")
    if asked in getPolicyList():
        return asked
    if pvInfo.get("RTYP") in SETTLED_TYPES:
        return "rayfan_changes"
    return "Default"


def determinePolicy(pvInfo):
    name = chosenPolicy(pvInfo)
    policy = {
        "policyName": name,
        "samplingPeriod": 1.0,
        "samplingMethod": "MONITOR",
        "dataStores": stores(),
        "archiveFields": getFieldsArchivedAsPartOfStream(),
    }
    if name == "rayfan_figures":
        policy["samplingPeriod"] = 5.0
        policy["samplingMethod"] = "SCAN"
    if pvInfo.get("RTYP") in SETTLED_TYPES:
        policy["archiveFields"] = []
    return policy
