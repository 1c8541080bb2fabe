//! The IMDS simulator.
