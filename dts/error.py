"""What can go wrong while reading or judging a devicetree.

    DtsError
    ├── InputError        the file cannot be read, is too large, or is not a file
    │   ├── BlobError     the bytes are no devicetree blob, or a damaged one
    │   └── SourceError   dtc, cpp or fdtoverlay refused the source
    ├── ToolError         dtc, cpp or fdtoverlay is missing, hung, or grew too large
    ├── PropertyError     a property has not the form that the caller asked for
    └── NodeError         a node is absent, or cannot be added

Each message is one sentence: the file or node, what was expected, what was seen, what to do.
"""


class DtsError(Exception):
    """Base of all errors of this package."""


class InputError(DtsError):
    """The input cannot be read: check the path, its permissions and its size."""


class BlobError(InputError):
    """The bytes are not a sound devicetree blob: rebuild it with dtc."""


class SourceError(InputError):
    """A tool refused the source: its first message is quoted."""


class ToolError(DtsError):
    """An outside tool is missing, exceeded its time, or exceeded its memory."""


class PropertyError(DtsError, ValueError):
    """A property has not the length or the form that its reader expects."""


class NodeError(DtsError, LookupError):
    """There is no such node, or its name is taken."""
