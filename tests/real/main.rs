//! The tests against real parts, which `tests/run` fetches.
