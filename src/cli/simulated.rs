//! x
use std::process::ExitCode;
pub(super) fn demo(_once: bool) -> ExitCode {
    ExitCode::FAILURE
}
pub(super) fn simulate(_options: &super::SimulateOptions) -> ExitCode {
    ExitCode::FAILURE
}
