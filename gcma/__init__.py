"""gcma: the executable specification and test bench of guaranteed CMA.

The command line is in :mod:`gcma.cli`; the model in :mod:`allocator`, devicetrees in
:mod:`dts`, the emulated board in :mod:`board`, the firmware in :mod:`guest`.
"""

__version__ = "0.1.0"
