"""Show the panel of a consumer's processor; run by Phoebus (Jython 2.7) when the PV with its name changes.

`statistics` has processor_statistics.bob, `threshold.py:Threshold` processor_Threshold.bob, if that file is there.
"""

import os
import re

from org.csstudio.display.builder.model import DisplayModel
from org.csstudio.display.builder.runtime.script import PVUtil, ScriptUtil

name = re.split("[:/]", PVUtil.getString(pvs[0], True))[-1]  # noqa: F821 - given by Phoebus
name = re.sub("[^A-Za-z0-9_]", "", name)
here = os.path.dirname(widget.getUserData(DisplayModel.USER_DATA_INPUT_FILE))  # noqa: F821, PTH120 - of Jython 2.7
panel = "processor_" + name + ".bob"
if not here.startswith("http") and not os.path.exists(os.path.join(here, panel)):  # noqa: PTH110, PTH118
    panel = "processor_other.bob"
ScriptUtil.findWidgetByName(widget, "ProcessorPanel").setPropertyValue("file", panel)  # noqa: F821
