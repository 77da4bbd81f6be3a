"""Write the cffi glue for the C core from its one public header.

Usage: gen_core.py core_api.h OUTPUT.c
"""

import sys
from pathlib import Path

from cffi import FFI


def main() -> None:
    header, output = sys.argv[1:]
    declarations = "\n".join(
        line for line in Path(header).read_text().splitlines() if not line.startswith("#")
    )
    ffi = FFI()
    ffi.cdef(declarations)
    ffi.set_source("blockrep._core", '#include "core_api.h"')
    ffi.emit_c_code(output)


main()
