"""Print the table of the validator's codes as Markdown: `python -m continuon.rlds`."""

import sys

from continuon.rlds.codes import render_markdown

sys.stdout.write(render_markdown())
