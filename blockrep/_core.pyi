"""Types of the cffi module that is generated from csrc/core_api.h."""

from typing import Any

ffi: Any
lib: Any
